"""Where an image's documents and blobs come from: a registry, or the image Corten carries. Blocking; net threads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from corten.engine.images.hello_world import BuiltinImage
from corten.registry.client import fetch
from corten.registry.errors import RegistryError
from corten.registry.fetch import OnProgress, RawManifest, Sink, get_manifest
from corten.registry.session import OnRetry, Session
from corten.spec.oci_image import Descriptor


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


class RegistrySource:
    """A registry, and the endpoints behind it that may have to help out."""

    def __init__(self, sessions: Sequence[Session]) -> None:
        self._sessions = list(sessions)

    def manifest(self, descriptor: Descriptor) -> RawManifest:
        """From the first endpoint that has it. Raises RegistryError."""
        failure: RegistryError | None = None
        for session in self._sessions:
            try:
                return get_manifest(session, descriptor.digest)
            except RegistryError as error:
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
        """From the endpoints in turn. Raises RegistryError, DataLoss."""
        fetch(self._sessions, descriptor, sink, on_progress=on_progress, on_retry=on_retry)


class BuiltinSource:
    """An image in memory."""

    def __init__(self, image: BuiltinImage) -> None:
        self._image = image

    def manifest(self, descriptor: Descriptor) -> RawManifest:
        """The manifest itself."""
        return RawManifest(descriptor.media_type, self._image.index.digest, self._image.blobs[descriptor.digest])

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
