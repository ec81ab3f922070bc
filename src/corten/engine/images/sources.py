"""Where an image's documents and blobs come from: a registry, or the image Corten carries. Blocking; net threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from corten.engine.images.hello_world import BuiltinImage
from corten.errors import DataLoss
from corten.registry.blob import BlobFetch
from corten.registry.cancel import Cancel
from corten.registry.client import RegistryClient
from corten.registry.credentials import ANONYMOUS, Credentials
from corten.registry.errors import CorruptContent, RegistryError
from corten.registry.fetch import OnProgress, RawManifest, Sink, get_manifest
from corten.registry.session import OnRetry, Session
from corten.spec.digest import digest_of
from corten.spec.oci_image import Descriptor
from corten.spec.reference import Reference


class ImageSource(Protocol):
    """Gives what a manifest names; everything it gives is verified by the taker, too."""

    def manifest(self, descriptor: Descriptor) -> RawManifest:
        """The manifest that an index names."""

    def blob(
        self,
        descriptor: Descriptor,
        sink: Sink,
        *,
        on_progress: OnProgress | None = None,
        on_retry: OnRetry | None = None,
    ) -> None:
        """Append what `sink` lacks."""


SourceOf = Callable[[Cancel], ImageSource]
"""Opens a source whose requests end with a cancel: what is found in one task may be fetched in another."""


def verified_manifest(source: ImageSource, descriptor: Descriptor) -> RawManifest:
    """The manifest that an index names, and no other. Blocking. Raises DataLoss, and what the source raises."""
    found = source.manifest(descriptor)
    if digest_of(found.raw) != descriptor.digest:
        raise DataLoss(f"manifest verification failed for digest {descriptor.digest}")
    return found


class RegistrySource:
    """A registry, and the endpoints behind it that may have to help out."""

    def __init__(self, sessions: Sequence[Session]) -> None:
        self._sessions = list(sessions)
        self._served: dict[str, int] = {}

    def manifest(self, descriptor: Descriptor) -> RawManifest:
        """From the first endpoint that has it. Raises RegistryError, CorruptContent."""
        failure: Exception | None = None
        for session in self._sessions:
            try:
                return get_manifest(session, descriptor.digest)
            except (RegistryError, CorruptContent) as error:
                failure = error
        assert failure is not None
        raise failure

    def blob(
        self,
        descriptor: Descriptor,
        sink: Sink,
        *,
        on_progress: OnProgress | None = None,
        on_retry: OnRetry | None = None,
    ) -> None:
        """From the endpoints in turn; who asks for a blob again was given a bad one. Raises RegistryError, DataLoss."""
        first = self._served.get(descriptor.digest, 0)
        if sink.offset == 0:  # else what was bad may have been there before
            self._served[descriptor.digest] = min(first + 1, len(self._sessions) - 1)
        BlobFetch(self._sessions[first:], descriptor, sink, on_progress=on_progress, on_retry=on_retry).run()


def source_at(
    client: RegistryClient, reference: Reference, credentials: Credentials, sessions: Sequence[Session]
) -> SourceOf:
    """The blobs of `reference`'s repository, from the endpoints of `sessions`; mirrors get no credentials."""
    endpoints = [session.endpoint for session in sessions]

    def source(cancel: Cancel) -> ImageSource:
        return RegistrySource(
            [
                client.session(
                    endpoint,
                    reference.path,
                    credentials=ANONYMOUS if endpoint.mirror else credentials,
                    cancel=cancel,
                )
                for endpoint in endpoints
            ]
        )

    return source


class BuiltinSource:
    """An image in memory."""

    def __init__(self, image: BuiltinImage) -> None:
        self._image = image

    def manifest(self, descriptor: Descriptor) -> RawManifest:
        """The manifest itself."""
        raw = self._image.blobs[descriptor.digest]
        return RawManifest(descriptor.media_type, digest_of(raw), raw)

    def blob(
        self,
        descriptor: Descriptor,
        sink: Sink,
        *,
        on_progress: OnProgress | None = None,
        on_retry: OnRetry | None = None,  # noqa: ARG002 - memory does not fail in passing
    ) -> None:
        """All of it at once."""
        sink.write(self._image.blobs[descriptor.digest][sink.offset :])
        if on_progress is not None:
            on_progress(sink.offset)
