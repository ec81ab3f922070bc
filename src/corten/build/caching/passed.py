"""Directories for caches, and OCI layouts, that a client on the same machine has passed as descriptors. Daemon's loop;
disk threads.

They come among a build's contexts, called `cache:` and the path that `src` or `dest` of a cache says, and `layout:` and
the path of `oci-layout://`. Layouts are read with the client's rights.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from corten.build.caching.layout import LayoutSource, OpenBlob, write_layout
from corten.build.caching.options import CacheExport, CacheImport
from corten.build.dockerfile.contexts import LayoutName
from corten.engine.images.progress import Progress, run_cancellable
from corten.engine.images.sources import SourceOf
from corten.errors import InvalidArgument
from corten.linux.acting import ROOT, Identity
from corten.registry.fetch import RawManifest
from corten.spec.oci_image import Descriptor

_PREFIX = "cache:"
_LAYOUT = "layout:"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class PassedDirectories:
    """They by the client's paths (`directories.Directories`); the descriptors are somebody else's to close."""

    def __init__(
        self, descriptors: Mapping[str, int], layouts: Mapping[str, int] | None = None, reader: Identity = ROOT
    ) -> None:
        self._descriptors = dict(descriptors)
        self._layouts = dict(layouts or {})
        self._reader = reader

    async def image(self, name: LayoutName, progress: Progress) -> tuple[RawManifest, SourceOf]:
        """The document of a tag or digest. Raises NotFound, InvalidArgument, DataLoss, OSError."""
        passed = self._layouts.get(name.store)
        if passed is None:
            raise InvalidArgument(f"the OCI layout {name.store} was not passed by the client")
        layout = LayoutSource(lambda: os.open(".", _DIRECTORY, dir_fd=passed), self._reader)
        top = await run_cancellable(progress, "passed", layout.top, name.tag, name.digest)
        return top, lambda _cancel: layout

    def open(self, path: str) -> int:
        """A descriptor of its own. Blocking. Raises InvalidArgument for a directory that was not passed, OSError."""
        passed = self._descriptors.get(path)
        if passed is None:
            raise InvalidArgument(f"the cache in the directory {path} cannot be reached over this connection")
        return os.open(".", _DIRECTORY, dir_fd=passed)

    async def find(self, one: CacheImport, progress: Progress) -> tuple[RawManifest, SourceOf]:
        """The manifest of a tag or digest. Raises NotFound, InvalidArgument, DataLoss, OSError."""
        layout = LayoutSource(lambda: self.open(one.path))
        top = await run_cancellable(progress, "passed", layout.top, one.tag, one.digest)
        return top, lambda _cancel: layout

    async def write(
        self,
        one: CacheExport,
        blobs: Sequence[tuple[Descriptor, OpenBlob]],
        manifest: Descriptor,
        progress: Progress,
    ) -> None:
        """Write blobs, and let the tag mean the manifest. Raises InvalidArgument, OSError."""

        def write() -> None:
            directory = self.open(one.path)
            try:
                write_layout(directory, blobs=blobs, manifest=manifest, tag=one.tag, check=progress.cancel.check)
            finally:
                os.close(directory)

        await run_cancellable(progress, "disk", write)


def split_passed(contexts: Mapping[str, int], reader: Identity) -> tuple[dict[str, int], PassedDirectories]:
    """The contexts among what was passed, and the other directories.

    Raises InvalidArgument for a cache of a client that is not root: the engine would write with its own rights.
    """
    caches = _called(_PREFIX, contexts)
    if caches and reader.uid:
        raise InvalidArgument("caches in directories are read and written by the engine itself, for root alone")
    others = {name: fd for name, fd in contexts.items() if not name.startswith((_PREFIX, _LAYOUT))}
    return others, PassedDirectories(caches, _called(_LAYOUT, contexts), reader)


def _called(prefix: str, contexts: Mapping[str, int]) -> dict[str, int]:
    return {name.removeprefix(prefix): fd for name, fd in contexts.items() if name.startswith(prefix)}
