"""Pushing images: blobs that the registry lacks, then the manifests, and what gets the tag last. Daemon's loop.

Blobs go as they are stored, so an image that was pulled is pushed with the same digests. A name that means an index is
pushed as that index, with all its platforms and attestations, if all of it is here.
"""

from __future__ import annotations

import asyncio
from functools import partial

from corten.engine.events import Events
from corten.engine.images.catalog import ImageEntry
from corten.engine.images.compress import compress_layers, needs_compression
from corten.engine.images.content_tree import Node, grow
from corten.engine.images.library import ImageLibrary
from corten.engine.images.origins import BlobOrigins
from corten.engine.images.platform_manifest import platform_node
from corten.engine.images.progress import Progress, all_or_none, run_cancellable
from corten.errors import NotFound
from corten.lib import blocking
from corten.registry.client import RegistryClient
from corten.registry.credentials import Credentials
from corten.registry.push import mount_blob, put_manifest
from corten.registry.session import Session
from corten.registry.upload import BlobUpload, abandon, has_blob
from corten.spec.digest import short
from corten.spec.docker.progress import NO_DETAIL, ProgressMessage, layer_status, status
from corten.spec.oci_image import CONFIG_LIMIT, Descriptor, Manifest, is_image, media_type_of, parse_image
from corten.spec.platform import Platform
from corten.spec.reference import Reference

_MOUNTS = 3


class NothingToPush(NotFound):
    """No image here has the name."""

    code = "nothing-to-push"


class Pusher:
    """The use case behind `docker push`; one a daemon."""

    def __init__(
        self,
        *,
        library: ImageLibrary,
        client: RegistryClient,
        events: Events,
        origins: BlobOrigins,
        max_uploads: int = 5,
    ) -> None:
        self._library = library
        self._client = client
        self._events = events
        self._origins = origins
        self.limit(max_uploads)

    def limit(self, max_uploads: int) -> None:
        """How many blobs are sent at once; those under way are not counted anew."""
        self._uploads = asyncio.Semaphore(max_uploads)

    async def push(
        self, reference: Reference, credentials: Credentials, progress: Progress, *, platform: Platform | None = None
    ) -> None:
        """Push one tag, or all tags of the repository; of each the manifest for `platform` alone, if one is given.

        Raises NothingToPush, ImageNotFound (nothing here is for the platform), RegistryError.
        """
        sessions = self._client.sessions(reference, credentials=credentials, cancel=progress.cancel, push=True)
        progress.say(status(f"The push refers to repository [{reference.name}]"))
        for name in self._tags(reference):
            await self._push_one(name, platform, sessions[0], progress)

    def _tags(self, reference: Reference) -> list[Reference]:
        found = [n for entry in self._library.catalog for n in entry.names() if n.tag and n.name == reference.name]
        if not found:
            raise NothingToPush(f"An image does not exist locally with the tag: {reference.familiar_name}")
        if reference.is_name_only:
            return sorted(found, key=lambda name: name.tag)
        if self._library.catalog.named(reference) is None:
            raise NothingToPush(f"tag does not exist: {reference.familiar}")
        return [reference]

    async def _push_one(self, name: Reference, platform: Platform | None, session: Session, progress: Progress) -> None:
        entry = self._library.catalog.named(name)
        if entry is None:  # removed while other tags were pushed
            raise NothingToPush(f"tag does not exist: {name.familiar}")
        if needs_compression(entry):
            entry = await self._compressed(entry, progress)
        root = entry.target(name)
        tree = await blocking.run(grow, root, self._library.read_document)
        async with self._library.lease([*entry.blobs, *tree.all_digests()]):
            if platform is not None:
                tree = await blocking.run(platform_node, self._library, tree, platform, name.familiar)
                root = tree.descriptor
            else:
                tree = await blocking.run(self._as_far_as_here, tree, entry)
            diff_ids = await blocking.run(self._diff_ids, tree, entry)
            items = [short(diff_id) for diff_id in diff_ids.values()][::-1]
            for item in items:
                progress.say(layer_status(item, "Preparing"))
            for item in items[5:]:
                progress.say(layer_status(item, "Waiting"))
            await self._push_blobs(tree, diff_ids, name, session, progress)
            target = name.tag or tree.descriptor.digest
            for node in tree.walk():
                await self._push_document(node, target if node is tree else node.descriptor.digest, session, progress)
        digest, size = tree.descriptor.digest, len(tree.raw or b"")
        await self._library.name(entry.id, [f"{name.name}@{digest}"], tree.descriptor)
        progress.say(status(f"{target}: digest: {digest} size: {size}"))
        progress.say(_aux({"Tag": target, "Digest": digest, "Size": size}))
        if digest != root.digest:
            # Docker's client tells of it in words of its own
            original, selected = ({"digest": d.digest, "mediaType": d.media_type} for d in (root, tree.descriptor))
            told = {"manifestPushedInsteadOfIndex": True, "originalIndex": original, "selectedManifest": selected}
            progress.say(_aux(told))
        self._events.publish("image", "push", name.familiar, {"name": name.familiar_name})

    def _as_far_as_here(self, tree: Node, entry: ImageEntry) -> Node:
        """The tree if all of it is here, else its manifest of this image, else the manifest that surely is."""
        if tree.is_complete(self._library.has_blob):
            return tree
        own = (node for node in tree.manifests() if node.image_id == entry.id)
        whole = next((node for node in own if node.is_complete(self._library.has_blob)), None)
        return whole or grow(entry.manifest, self._library.read_document)

    def _diff_ids(self, tree: Node, entry: ImageEntry) -> dict[str, str]:
        """The diffIDs of the layers of one image of the tree, if possible of this one: those have lines."""
        found = [n for n in tree.manifests() if isinstance(n.document, Manifest) and is_image(n.document)]
        found = [n for n in found if not n.is_attestation]
        node = next((n for n in found if n.image_id == entry.id), found[0] if found else None)
        if node is None or not isinstance(node.document, Manifest):
            return {}
        image = parse_image(self._library.read_blob(node.document.config.digest, CONFIG_LIMIT))
        return {layer.digest: diff for layer, diff in zip(node.document.layers, image.diff_ids, strict=False)}

    async def publish(
        self, root: Descriptor, name: Reference, credentials: Credentials, progress: Progress, *, tagged: bool
    ) -> None:
        """Push a manifest or an index that is here and leased, though it may be no image's: under the name's tag, or
        (not `tagged`) by its digest alone. Blobs that are not here must be there.

        Raises RegistryError, NothingToPush, NotFound.
        """
        session = self._client.sessions(name, credentials=credentials, cancel=progress.cancel, push=True)[0]
        tree = await blocking.run(grow, root, self._library.read_document)
        if any(node.raw is None for node in tree.walk()):
            raise NothingToPush(f"not all of {root.digest} is here: {name.familiar} cannot be pushed")
        progress.say(status(f"The push refers to repository [{name.name}]"))
        lines = {blob.digest: blob.digest for node in tree.manifests() for blob in node.blobs()[1:]}
        await self._push_blobs(tree, lines, name, session, progress)
        target = name.tag if tagged and name.tag else root.digest
        for node in tree.walk():
            await self._push_document(node, target if node is tree else node.descriptor.digest, session, progress)
        progress.say(status(f"{target}: digest: {root.digest} size: {root.size}"))
        self._events.publish("image", "push", name.familiar, {"name": name.familiar_name})

    async def _push_blobs(
        self, tree: Node, diff_ids: dict[str, str], name: Reference, session: Session, progress: Progress
    ) -> None:
        """Layers and configurations, several at once; the layers of this platform's image have their lines."""
        blobs = {blob.digest: blob for node in tree.manifests() for blob in reversed(node.blobs())}
        works = [
            self._push_blob(blob, short(diff_ids[digest]) if digest in diff_ids else "", name, session, progress)
            for digest, blob in blobs.items()
        ]
        await all_or_none(progress, works)
        await blocking.run(self._origins.note, list(blobs), name)

    async def _push_document(self, node: Node, target: str, session: Session, progress: Progress) -> None:
        assert node.raw is not None
        assert node.document is not None
        media_type = media_type_of(node.document, node.descriptor.media_type)
        await run_cancellable(progress, "net", put_manifest, session, target, node.raw, media_type)

    async def _compressed(self, entry: ImageEntry, progress: Progress) -> ImageEntry:
        def step(diff_id: str, done: int, total: int) -> None:
            progress.cancel.check()
            progress.update(short(diff_id), "Preparing", done, total)

        async with self._library.lease([]) as lease:
            manifest, _ = await run_cancellable(progress, "disk", compress_layers, self._library, entry, lease, step)
            return await self._library.replace_manifest(entry.id, manifest)

    async def _push_blob(
        self, blob: Descriptor, item: str, name: Reference, session: Session, progress: Progress
    ) -> None:
        async with self._uploads:
            sources = await blocking.run(self._origins.others, blob.digest, name, most=_MOUNTS)
            outcome = await run_cancellable(progress, "net", self._send, session, blob, sources, item, progress)
        if item:
            progress.say(layer_status(item, outcome))

    def _send(self, session: Session, blob: Descriptor, sources: list[str], item: str, progress: Progress) -> str:
        if has_blob(session, blob.digest):
            return "Layer already exists"
        location = ""
        for source in sources:
            mount = mount_blob(session, blob.digest, source)
            if mount.done:
                return f"Mounted from {source}"
            abandon(session, location)
            location = mount.upload
        BlobUpload(
            session,
            blob,
            partial(self._library.open_blob, blob.digest),
            location=location,
            on_progress=(lambda done: progress.update(item, "Pushing", done, blob.size)) if item else None,
            on_retry=partial(_tell_retry, progress, item) if item else None,
        ).run()
        return "Pushed"


def _tell_retry(progress: Progress, item: str, seconds: int) -> None:
    progress.say_from_thread(layer_status(item, f"Retrying in {seconds} second{'s' * (seconds != 1)}"))


def _aux(value: dict[str, object]) -> ProgressMessage:
    return ProgressMessage(progress_detail=NO_DETAIL, aux=value)
