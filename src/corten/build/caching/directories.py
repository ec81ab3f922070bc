"""What a build needs of its client's directories that hold caches and images: a protocol, whoever reaches them.

A buildx client offers them as content stores (session/stores.py), one on the same machine passes them (passed.py), all
others have none. Daemon's loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from corten.build.caching.layout import OpenBlob
from corten.build.caching.options import CacheExport, CacheImport
from corten.build.dockerfile.contexts import LayoutName
from corten.engine.images.progress import Progress
from corten.engine.images.sources import SourceOf
from corten.errors import InvalidArgument
from corten.registry.fetch import RawManifest
from corten.spec.oci_image import Descriptor


class Directories(Protocol):
    """Directories of a build's client, which hold caches and images."""

    async def image(self, name: LayoutName, progress: Progress) -> tuple[RawManifest, SourceOf]:
        """The manifest or index that a name means in an OCI layout, and a way to what it names. Raises CortenError,
        OSError."""

    async def find(self, one: CacheImport, progress: Progress) -> tuple[RawManifest, SourceOf]:
        """The manifest of a cache, and a way to what it names. Raises CortenError, OSError."""

    async def write(
        self,
        one: CacheExport,
        blobs: Sequence[tuple[Descriptor, OpenBlob]],
        manifest: Descriptor,
        progress: Progress,
    ) -> None:
        """Write the blobs of a cache, its manifest among them. Raises CortenError, OSError."""


class NoDirectories:
    """A client that has none that the engine could reach."""

    async def image(self, name: LayoutName, progress: Progress) -> tuple[RawManifest, SourceOf]:  # noqa: ARG002
        """None of them. Raises InvalidArgument."""
        raise InvalidArgument(
            f"the OCI layout {name.store} cannot be reached over this connection",
            hint="load it (`load -i`), and name it as docker-image://<image>",
        )

    async def find(self, one: CacheImport, progress: Progress) -> tuple[RawManifest, SourceOf]:  # noqa: ARG002
        """None of them. Raises InvalidArgument."""
        raise _unreachable(one.path)

    async def write(
        self,
        one: CacheExport,
        blobs: Sequence[tuple[Descriptor, OpenBlob]],  # noqa: ARG002 - the form of directories
        manifest: Descriptor,  # noqa: ARG002
        progress: Progress,  # noqa: ARG002
    ) -> None:
        """None of them. Raises InvalidArgument."""
        raise _unreachable(one.path)


def _unreachable(path: str) -> InvalidArgument:
    return InvalidArgument(f"the cache in the directory {path} cannot be reached over this connection")
