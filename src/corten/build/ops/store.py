"""What operations do with layers: look at a file system, put a layer on one. Daemon's loop; disk threads."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from corten.build.export import time_text
from corten.build.filesystem import FileSystem, Layer
from corten.build.trees.mounted import MountedTree
from corten.build.trees.tree import EmptyTree, Tree
from corten.engine.images.assemble import Assembler
from corten.engine.images.progress import Progress
from corten.lib import blocking
from corten.lib.tar_writer import TarWriter
from corten.store.leases import Lease
from corten.store.pack import PackedLayer, PipedTar
from corten.store.snapshots.driver import Change


class Snapshots(Protocol):
    """Layers and writable snapshots (store.snapshots)."""

    def image_fd(self, chain_id: str) -> int:
        """A detached, read-only mount of layers; the caller closes it."""

    def upper_fd(self, key: str) -> int:
        """What a snapshot has written; the caller closes it."""

    def changes(self, key: str) -> list[Change]:
        """What a snapshot has changed."""

    def size(self, chain_id: str) -> int:
        """Bytes of a layer's own files."""


class LayerStore:
    """Layers as a build's operations make them. `epoch_ns` is SOURCE_DATE_EPOCH, the latest time in a layer."""

    def __init__(
        self,
        *,
        assembler: Assembler,
        snapshots: Snapshots,
        lease: Lease,
        now_ns: Callable[[], int],
        epoch_ns: int | None,
    ) -> None:
        self._assembler = assembler
        self._snapshots = snapshots
        self._lease = lease
        self._now_ns = now_ns
        self.epoch_ns = epoch_ns
        self.progress = Progress()

    def now_ns(self) -> int:
        """The time that new things get."""
        return self._now_ns() if self.epoch_ns is None else self.epoch_ns

    @contextmanager
    def tree(self, filesystem: FileSystem) -> Iterator[Tree]:
        """A file system to be read. Blocking. Raises OSError, NotFound."""
        if not filesystem.layers:
            yield EmptyTree()
            return
        tree = MountedTree(self._snapshots.image_fd(filesystem.chain_id))
        try:
            yield tree
        finally:
            tree.close()

    async def add(self, below: FileSystem, fill: Callable[[TarWriter], None]) -> FileSystem:
        """A layer of what `fill` (called in a thread) writes upon a file system."""
        return await self._add(below, lambda: PipedTar(fill))

    async def add_snapshot(self, below: FileSystem, key: str) -> FileSystem:
        """What the snapshot `key` has written, as a layer, if that is anything."""
        if await blocking.run(self._is_unchanged, key):
            return below
        return await self._add(below, lambda: PackedLayer(self._snapshots.upper_fd(key), newest_ns=self.epoch_ns))

    def _is_unchanged(self, key: str) -> bool:
        fd = self._snapshots.upper_fd(key)
        try:
            return not os.listdir(fd) and not self._snapshots.changes(key)
        finally:
            os.close(fd)

    async def _add(self, below: FileSystem, open_tar: Callable[[], PipedTar]) -> FileSystem:
        tars: list[PipedTar] = []

        def opened() -> PipedTar:
            tars.append(open_tar())
            return tars[-1]

        diff_ids = [layer.diff_id for layer in below.layers]
        try:
            blob = await self._assembler.add_layer(opened, diff_ids, self._lease, self.progress)
        finally:
            for tar in tars:
                await blocking.run(tar.close)
        made = FileSystem(layers=(*below.layers, Layer(blob=blob, diff_id=blob.digest)))
        created = time_text(self.now_ns())
        layer = Layer(blob=blob, diff_id=blob.digest, created=created, size=self._snapshots.size(made.chain_id))
        return FileSystem(layers=(*below.layers, layer))
