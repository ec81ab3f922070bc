"""What operations do with layers: look at a file system, put a layer on one. Daemon's loop; disk threads."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import ParamSpec, Protocol, TypeVar

import msgspec

from corten.build.export import time_text
from corten.build.filesystem import FileSystem, Layer
from corten.build.trees.mounted import MountedTree
from corten.build.trees.tree import EmptyTree, Tree
from corten.engine.images.assemble import Assembler
from corten.engine.images.progress import Progress, run_cancellable
from corten.errors import InvalidArgument
from corten.lib import blocking
from corten.lib.tar_writer import TarWriter
from corten.linux.openat2 import RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, openat2
from corten.store.leases import Lease
from corten.store.pack import PackedLayer, PipedTar
from corten.store.snapshots.driver import Change

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_RESOLVE = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS
_LAYERS_LIMIT = 125  # Docker's: an image with more cannot be pulled there, and overlayfs takes 500

T = TypeVar("T")
P = ParamSpec("P")


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

    def prepare(self, key: str, parent: str) -> object:
        """A new snapshot upon a layer."""

    def root_fd(self, key: str) -> int:
        """The whole root of a snapshot as a detached mount; the caller closes it."""

    def remove(self, key: str) -> None:
        """Give a snapshot up; a missing one is no error."""

    @property
    def mounts_images(self) -> bool:
        """Whether `mount_image` can be asked for."""

    def mount_image(self, fd: int) -> int:
        """An image of files (store.erofs) as a detached, read-only mount; the caller closes it."""


class LayerStore:
    """Layers as a build's operations make them, with the times that things have: SOURCE_DATE_EPOCH is the exporters'.
    `progress` is the build's, whose cancellation ends what threads do."""

    def __init__(
        self,
        *,
        assembler: Assembler,
        snapshots: Snapshots,
        lease: Lease,
        now_ns: Callable[[], int],
        progress: Progress,
    ) -> None:
        self._assembler = assembler
        self._snapshots = snapshots
        self._lease = lease
        self.now_ns = now_ns
        self.progress = progress

    def keep(self, filesystem: FileSystem) -> None:
        """Keep a file system from being deleted as long as the build lasts."""
        self._lease.add(*filesystem.keys())

    async def work(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `fn` in a thread; a build that is cancelled waits until that has let go of its files and mounts."""
        return await run_cancellable(self.progress, "build", fn, *args, **kwargs)

    @contextmanager
    def tree(self, filesystem: FileSystem) -> Iterator[Tree]:
        """A file system to be read. Blocking. Raises OSError, NotFound."""
        if not filesystem.layers:
            yield EmptyTree()
            return
        tree = MountedTree(self._snapshots.image_fd(filesystem.chain_id), check=self.progress.cancel.check)
        try:
            yield tree
        finally:
            tree.close()

    def mount_fd(self, filesystem: FileSystem, key: str) -> int:
        """A detached mount of a file system, to be closed by the caller: read-only, or as the snapshot `key` when
        it may be written. Blocking."""
        if not key:
            return self._snapshots.image_fd(filesystem.chain_id)
        self._snapshots.prepare(key, filesystem.chain_id)
        return self._snapshots.root_fd(key)

    @property
    def mounts_images(self) -> bool:
        """Whether images of files can be mounted here."""
        return self._snapshots.mounts_images

    def mount_image(self, fd: int) -> int:
        """The image of files in an open file as a detached mount, to be closed by the caller. Blocking."""
        return self._snapshots.mount_image(fd)

    def remove_snapshot(self, key: str) -> None:
        """Give up what `mount_fd` has made."""
        self._snapshots.remove(key)

    async def add(self, below: FileSystem, fill: Callable[[TarWriter], None]) -> FileSystem:
        """A layer of what `fill` (called in a thread) writes upon a file system."""
        return await self._add(below, lambda: PipedTar(fill))

    async def add_apart(self, fill: Callable[[TarWriter], None]) -> FileSystem:
        """A layer of what `fill` writes, which `put` puts upon file systems: a blob alone."""
        async with _opening(lambda: PipedTar(fill)) as opened:
            blob = await self._assembler.store_layer(opened, self._lease, self.progress)
        layer = Layer(blob=blob, diff_id=blob.digest, created=time_text(self.now_ns()))
        return FileSystem(layers=(layer,), is_apart=True)

    async def put(self, below: FileSystem, above: FileSystem) -> FileSystem:
        """The one layer of `above` upon a file system. Raises InvalidTar, OSError."""
        _check_depth(below)
        made = FileSystem(layers=(*below.layers, *above.layers))
        layers = [(layer.blob, layer.diff_id) for layer in made.layers]
        await self._assembler.unpack_all(layers, self._lease, self.progress)
        top = msgspec.structs.replace(made.layers[-1], size=self._snapshots.size(made.chain_id))
        return FileSystem(layers=(*below.layers, top))

    async def add_snapshot(self, below: FileSystem, key: str, stubs: Sequence[str] = ()) -> FileSystem:
        """What the snapshot `key` has written, as a layer, if that is anything.

        `stubs` are paths that were made for mounts alone, those within others first: they go where they are empty.
        """
        if stubs:
            await self.work(self._remove_stubs, key, stubs)
        if await self.work(self._is_unchanged, key):
            return below
        return await self._add(below, lambda: PackedLayer(self._snapshots.upper_fd(key)))

    def _remove_stubs(self, key: str, stubs: Sequence[str]) -> None:
        root = self._snapshots.upper_fd(key)
        try:
            for path in stubs:
                _remove_stub(root, path)
        finally:
            os.close(root)

    def _is_unchanged(self, key: str) -> bool:
        fd = self._snapshots.upper_fd(key)
        try:
            return not os.listdir(fd) and not self._snapshots.changes(key)
        finally:
            os.close(fd)

    async def _add(self, below: FileSystem, open_tar: Callable[[], PipedTar]) -> FileSystem:
        _check_depth(below)
        diff_ids = [layer.diff_id for layer in below.layers]
        async with _opening(open_tar) as opened:
            blob = await self._assembler.add_layer(opened, diff_ids, self._lease, self.progress)
        made = FileSystem(layers=(*below.layers, Layer(blob=blob, diff_id=blob.digest)))
        created = time_text(self.now_ns())
        layer = Layer(blob=blob, diff_id=blob.digest, created=created, size=self._snapshots.size(made.chain_id))
        return FileSystem(layers=(*below.layers, layer))


def _check_depth(below: FileSystem) -> None:
    """Raise InvalidArgument when no layer may be put upon a file system."""
    if len(below.layers) >= _LAYERS_LIMIT:
        raise InvalidArgument(f"max depth exceeded: an image may have {_LAYERS_LIMIT} layers; put steps together")


@asynccontextmanager
async def _opening(open_tar: Callable[[], PipedTar]) -> AsyncIterator[Callable[[], PipedTar]]:
    """What opens a tar, which is closed with the block."""
    tars: list[PipedTar] = []

    def opened() -> PipedTar:
        tars.append(open_tar())
        return tars[-1]

    try:
        yield opened
    finally:
        for tar in tars:
            await blocking.run(tar.close)


def _remove_stub(root: int, path: str) -> None:
    """Remove an empty directory or file; anything else stays."""
    head, _, name = path.rpartition("/")
    with contextlib.suppress(OSError):
        parent = openat2(root, os.fsencode(head) or b".", _DIRECTORY, resolve=_RESOLVE)
        try:
            status = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                os.rmdir(name, dir_fd=parent)
            elif stat.S_ISREG(status.st_mode) and not status.st_size:
                os.unlink(name, dir_fd=parent)
        finally:
            os.close(parent)
