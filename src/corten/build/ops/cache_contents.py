"""What new cache mounts of a step begin with: files of a stage or image (`from`), or an imported cache's. Threads.

A directory is filled by way of a tar, as any layer is: links in it lead nowhere while it is written.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from corten.build.cache_mounts import Fill
from corten.build.caching.imports import Imports
from corten.build.copying.layer import Attributes, LayerPlan
from corten.build.copying.select import Selection, take
from corten.build.filesystem import FileSystem
from corten.build.lazy_layers import LazyLayers
from corten.build.operations import Mount
from corten.build.ops.store import LayerStore
from corten.build.trees.tree import EmptyTree, resolve
from corten.errors import CortenError, InvalidArgument, NotFound
from corten.errors import NotImplemented as NotOffered
from corten.lib.tar import TarReader
from corten.lib.tar_writer import TarWriter
from corten.spec.docker.progress import ProgressMessage, stream_line
from corten.store.extract import LayerExtractor
from corten.store.pack import PipedTar


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedMounts:
    """The cache mounts that a build's imported caches have, and who tells the client when one cannot be had."""

    imports: Imports
    lazy: LazyLayers
    say: Callable[[ProgressMessage], None]


@dataclass(frozen=True, slots=True)
class CacheContents:
    """Those of one step, whose inputs have given `results`."""

    store: LayerStore
    imported: ImportedMounts
    results: Sequence[FileSystem | None]

    def origin(self, mount: Mount) -> str:
        """The files that `from` gives, as an identity. Raises NotImplemented for those of the build context."""
        if not mount.input:
            return ""
        filesystem = self.results[mount.input]
        if filesystem is None:
            raise NotOffered("RUN --mount=type=cache from a build context is not supported: copy it to a stage first")
        return f"{filesystem.chain_id} {mount.source}"

    async def filler(self, name: str, mount: Mount) -> Fill | None:
        """Copies what the mount begins with. Raises NotFound when `from` has no such directory."""
        if mount.input:
            filesystem = self.results[mount.input]
            assert filesystem is not None
            return lambda fd: _fill(self.store, filesystem, mount.source or "/", fd)
        found = self.imported.imports.mount(name)
        if found is None:
            return None
        imported = FileSystem(layers=(found.layer,))
        self.store.keep(imported)
        try:
            await self.imported.lazy.have(imported)
        except CortenError as error:
            self.imported.say(stream_line(f"[Warning] the cache mount at {mount.target} begins empty: {error}\n"))
            return None
        return lambda fd: _fill(self.store, imported, "/", fd)


def _fill(store: LayerStore, filesystem: FileSystem, source: str, fd: int) -> None:
    """Copy a directory's content and attributes to `fd`."""
    with store.tree(filesystem) as tree:
        real = resolve(tree, source)
        node = tree.lstat(real)
        if node is None:
            raise NotFound(f'failed to compute cache key: "{source}": not found')
        if node.kind != "directory":
            raise InvalidArgument(f"cache mount: {source} is no directory")

        def fill(writer: TarWriter) -> None:
            plan = LayerPlan(EmptyTree(), Attributes(now_ns=store.now_ns()))
            plan.place(Selection((take(tree, source, keeps_owner=True),), several=False), "/")
            plan.write(writer)

        tar = PipedTar(fill)
        try:
            LayerExtractor(fd, lambda _path: None).extract(TarReader(tar))
        finally:
            tar.close()
        os.fchown(fd, node.uid, node.gid)
        os.fchmod(fd, node.mode & 0o7777)
