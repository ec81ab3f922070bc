"""Pushing images: layers that the registry lacks, then the configuration, then the manifest. Daemon's loop.

Blobs go as they are stored, so an image that was pulled is pushed with the same digests.
"""

from __future__ import annotations

import asyncio
from functools import partial

from corten.engine.events import Events
from corten.engine.images.catalog import ImageEntry
from corten.engine.images.compress import compress_layers, needs_compression
from corten.engine.images.library import ImageLibrary
from corten.engine.images.progress import Progress, all_or_none, run_cancellable
from corten.errors import NotFound
from corten.lib import blocking
from corten.registry.client import RegistryClient
from corten.registry.credentials import Credentials
from corten.registry.push import has_blob, mount_blob, put_manifest, upload_blob
from corten.registry.session import Session
from corten.spec.digest import short
from corten.spec.docker.progress import NO_DETAIL, ProgressMessage, layer_status, status
from corten.spec.oci_image import MANIFEST_LIMIT, Descriptor
from corten.spec.reference import Reference


class NothingToPush(NotFound):
    """No image here has the name."""

    code = "nothing-to-push"


class Pusher:
    """The use case behind `docker push`; one a daemon."""

    def __init__(self, *, library: ImageLibrary, client: RegistryClient, events: Events, max_uploads: int = 5) -> None:
        self._library = library
        self._client = client
        self._events = events
        self._uploads = asyncio.Semaphore(max_uploads)

    async def push(self, reference: Reference, credentials: Credentials, progress: Progress) -> None:
        """Push one tag, or all tags of the repository. Raises NothingToPush, RegistryError."""
        tags = self._tags(reference)
        sessions = self._client.sessions(reference, credentials=credentials, cancel=progress.cancel, push=True)
        progress.say(status(f"The push refers to repository [{reference.name}]"))
        for name, entry in tags:
            await self._push_one(name, entry, sessions[0], progress)

    def _tags(self, reference: Reference) -> list[tuple[Reference, ImageEntry]]:
        if not reference.is_name_only:
            entry = self._library.catalog.named(reference)
            if entry is None:
                raise NothingToPush(f"An image does not exist locally with the tag: {reference.familiar_name}")
            return [(reference, entry)]
        found = [
            (name, entry)
            for entry in self._library.catalog
            for name in entry.names()
            if name.tag and name.name == reference.name
        ]
        if not found:
            raise NothingToPush(f"An image does not exist locally with the tag: {reference.familiar_name}")
        return sorted(found, key=lambda pair: pair[0].tag)

    async def _push_one(self, name: Reference, entry: ImageEntry, session: Session, progress: Progress) -> None:
        if needs_compression(entry):
            entry = await self._compressed(entry, progress)
        layers = list(zip(entry.layers, entry.config.diff_ids, strict=True))[::-1]
        for _, diff_id in layers:
            progress.say(layer_status(short(diff_id), "Preparing"))
        for _, diff_id in layers[5:]:
            progress.say(layer_status(short(diff_id), "Waiting"))
        async with self._library.lease(entry.blobs):
            unique = {layer.digest: (layer, diff_id) for layer, diff_id in layers}
            works = [self._push_layer(layer, short(diff), name, session, progress) for layer, diff in unique.values()]
            await all_or_none(progress, works)
            config = Descriptor(media_type="", digest=entry.id, size=entry.config_size)
            await run_cancellable(progress, "net", self._send, session, config)
            raw = await blocking.run(self._library.read_blob, entry.manifest.digest, MANIFEST_LIMIT)
            target = name.tag or entry.manifest.digest
            digest = await run_cancellable(
                progress, "net", put_manifest, session, target, raw, entry.manifest.media_type
            )
        await self._library.name(entry.id, [f"{name.name}@{digest}"])
        progress.say(status(f"{target}: digest: {digest} size: {len(raw)}"))
        aux = {"Tag": target, "Digest": digest, "Size": len(raw)}
        progress.say(ProgressMessage(progress_detail=NO_DETAIL, aux=aux))
        self._events.publish("image", "push", name.familiar, {"name": name.familiar_name})

    async def _compressed(self, entry: ImageEntry, progress: Progress) -> ImageEntry:
        def step(diff_id: str, done: int, total: int) -> None:
            progress.cancel.check()
            progress.update(short(diff_id), "Preparing", done, total)

        async with self._library.lease([]) as lease:
            manifest, _ = await run_cancellable(progress, "disk", compress_layers, self._library, entry, lease, step)
            return await self._library.replace_manifest(entry.id, manifest)

    async def _push_layer(
        self, layer: Descriptor, item: str, name: Reference, session: Session, progress: Progress
    ) -> None:
        async with self._uploads:
            source = self._mount_source(layer.digest, name)
            send = partial(self._send, session, layer, item=item, progress=progress, mount=source)
            outcome = await run_cancellable(progress, "net", send)
        progress.say(layer_status(item, outcome))

    def _send(
        self,
        session: Session,
        blob: Descriptor,
        *,
        item: str = "",
        progress: Progress | None = None,
        mount: str = "",
    ) -> str:
        if has_blob(session, blob.digest):
            return "Layer already exists"
        if mount and mount_blob(session, blob.digest, mount):
            return f"Mounted from {mount}"
        upload_blob(
            session,
            blob,
            partial(self._library.open_blob, blob.digest),
            on_progress=None if progress is None else lambda done: progress.update(item, "Pushing", done, blob.size),
            on_retry=None
            if progress is None
            else lambda s: progress.say_from_thread(layer_status(item, f"Retrying in {s} second{'s' * (s != 1)}")),
        )
        return "Pushed"

    def _mount_source(self, digest: str, target: Reference) -> str:
        """Another repository of the same registry that is known to hold the blob; empty when there is none."""
        for entry in self._library.catalog:
            if any(layer.digest == digest for layer in entry.layers):
                for name in entry.names():
                    if name.digest and name.domain == target.domain and name.path != target.path:
                        return name.path
        return ""
