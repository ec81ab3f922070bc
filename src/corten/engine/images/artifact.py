"""What lies in a registry beside images: a manifest of any kind with its blobs, found and pushed. Daemon's loop.

The build cache travels so. Nothing here makes an image of it; blobs that are pushed are leased by the caller.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial

from corten.engine.images.library import ImageLibrary
from corten.engine.images.origins import BlobOrigins
from corten.engine.images.progress import Progress, all_or_none, run_cancellable
from corten.engine.images.sources import SourceOf, source_at
from corten.lib import blocking
from corten.registry.cancel import Cancel
from corten.registry.client import RegistryClient, resolve
from corten.registry.credentials import Credentials
from corten.registry.fetch import RawManifest
from corten.registry.push import mount_blob, put_manifest
from corten.registry.session import Session
from corten.registry.upload import BlobUpload, abandon, has_blob
from corten.spec.oci_image import Descriptor
from corten.spec.reference import Reference

_MOUNTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """What a name means at its registry: the document, and a way to what it names."""

    top: RawManifest
    source: SourceOf


class Artifacts:
    """Finds and pushes; one a daemon."""

    def __init__(
        self, *, client: RegistryClient, library: ImageLibrary, origins: BlobOrigins, max_uploads: int = 5
    ) -> None:
        self._client = client
        self._library = library
        self._origins = origins
        self.limit(max_uploads)

    def limit(self, max_uploads: int) -> None:
        """How many blobs are sent at once."""
        self._uploads = asyncio.Semaphore(max_uploads)

    async def find(self, reference: Reference, credentials: Credentials, progress: Progress) -> Artifact:
        """The document under a tag or digest. Raises RegistryError, DataLoss."""

        def ask(cancel: Cancel) -> tuple[RawManifest, list[Session]]:
            sessions = self._client.sessions(reference, credentials=credentials, cancel=cancel)
            return resolve(sessions, reference.digest or reference.tag)

        top, sessions = await run_cancellable(progress, "net", ask, progress.cancel)
        return Artifact(top=top, source=source_at(self._client, reference, credentials, sessions))

    def note(self, digests: Collection[str], reference: Reference) -> None:
        """These blobs are in that repository: pushes to its registry may have them taken over. Blocking."""
        self._origins.note(digests, reference)

    async def missing_at(
        self, reference: Reference, credentials: Credentials, blobs: Sequence[Descriptor], progress: Progress
    ) -> list[Descriptor]:
        """Which of `blobs` the repository does not have, and does not take over from another one of its registry.

        Raises RegistryError.
        """
        session = self._session(reference, credentials, progress)
        found: list[Descriptor] = []

        async def look(blob: Descriptor) -> None:
            async with self._uploads:
                others = await blocking.run(self._origins.others, blob.digest, reference, most=_MOUNTS)
                if not await run_cancellable(progress, "net", _is_there, session, blob, others):
                    found.append(blob)

        await all_or_none(progress, [look(blob) for blob in blobs])
        return found

    async def push(
        self,
        reference: Reference,
        credentials: Credentials,
        *,
        blobs: Sequence[Descriptor],
        manifest: bytes,
        media_type: str,
        progress: Progress,
    ) -> None:
        """Send blobs that are here, and the manifest under the reference's tag. Raises RegistryError, NotFound."""
        session = self._session(reference, credentials, progress)

        async def send(blob: Descriptor) -> None:
            async with self._uploads:
                upload = BlobUpload(session, blob, partial(self._library.open_blob, blob.digest))
                await run_cancellable(progress, "net", upload.run)

        await all_or_none(progress, [send(blob) for blob in blobs])
        await run_cancellable(progress, "net", put_manifest, session, reference.tag, manifest, media_type)
        await blocking.run(self._origins.note, [blob.digest for blob in blobs], reference)

    def _session(self, reference: Reference, credentials: Credentials, progress: Progress) -> Session:
        return self._client.sessions(reference, credentials=credentials, cancel=progress.cancel, push=True)[0]


def _is_there(session: Session, blob: Descriptor, others: Sequence[str]) -> bool:
    if has_blob(session, blob.digest):
        return True
    for other in others:
        mount = mount_blob(session, blob.digest, other)
        if mount.done:
            return True
        abandon(session, mount.upload)
    return False
