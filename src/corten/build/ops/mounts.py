"""`RUN --mount`: what a step's container has besides its root, as bind mounts of the engine. Daemon's loop; threads.

An image's or stage's file system is mounted below `directory` for the step, read-only, or as a snapshot of its own when
it may be written; what the client sent is unpacked below `unpacked`, on the disk of images; a cache is a directory that
stays. What a killed daemon left is removed at the next start (`mount_homes.sweep`). Secrets and agents are in
`offered.py`.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from corten.build.cache_mounts import CacheMounts
from corten.build.copying.layer import Attributes, LayerPlan
from corten.build.copying.select import Selection, Taken, digest, take
from corten.build.filesystem import FileSystem
from corten.build.graph import Vertex
from corten.build.operations import Mount, Run
from corten.build.ops.cache_contents import CacheContents, ImportedMounts
from corten.build.ops.inputs import Inputs
from corten.build.ops.mount_homes import MOUNTED, remove_home
from corten.build.ops.store import LayerStore
from corten.build.trees.tree import EmptyTree, Tree, resolve
from corten.engine.images.settled import never_half_done
from corten.errors import NotFound
from corten.lib import blocking
from corten.lib.tar import TarReader
from corten.lib.tar_writer import TarWriter
from corten.linux.mount import move_mount
from corten.spec.docker.hostconfig import Mount as HostMount
from corten.spec.docker.hostconfig import TmpfsOptions
from corten.store.extract import LayerExtractor
from corten.store.pack import PipedTar

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class StepMounts:
    """The mounts of one build's steps: attached below `directory`, or unpacked below `unpacked`."""

    def __init__(
        self,
        *,
        store: LayerStore,
        inputs: Inputs,
        caches: CacheMounts,
        directory: Path,
        unpacked: Path,
        imported: ImportedMounts,
    ) -> None:
        self._unpacked = unpacked
        self._imported = imported
        self._store = store
        self._inputs = inputs
        self._caches = caches
        self._directory = directory

    def digest(self, vertex: Vertex, run: Run, results: Sequence[FileSystem | None]) -> str:
        """What the step's mounts show it, as one digest. Blocking. Raises NotFound, OSError."""
        shown = [mount for mount in run.mounts if mount.input]
        whole = [result.chain_id for mount in shown if (result := results[mount.input]) and mount.source == "/"]
        with self._inputs.open(vertex, results) as trees:
            parts = [m for m in shown if results[m.input] is None or m.source != "/"]
            return " ".join([digest(_taken(trees[m.input], m, results[m.input]) for m in parts), *whole])

    @asynccontextmanager
    async def hold(
        self, vertex: Vertex, run: Run, results: Sequence[FileSystem | None]
    ) -> AsyncIterator[list[HostMount]]:
        """The mounts, there as long as the block. Raises NotFound, NotImplemented, OSError."""
        mounts: list[HostMount] = []
        async with AsyncExitStack() as closing:
            contents = CacheContents(self._store, self._imported, results)
            wanted = [mount for mount in run.mounts if mount.kind == "cache"]
            caches = await closing.enter_async_context(self._caches.hold(wanted, contents))
            for mount in run.mounts:
                if mount.kind == "tmpfs":
                    mounts.append(_tmpfs(mount))
                elif mount.kind == "cache":
                    mounts.append(_bind(mount, caches[mount]))
                elif mount.kind == "bind":
                    source = await self._bound(vertex, mount, results, closing)
                    mounts.append(_bind(mount, source))
            yield mounts

    async def _bound(
        self, vertex: Vertex, mount: Mount, results: Sequence[FileSystem | None], closing: AsyncExitStack
    ) -> str:
        """Where on the host the source of a bind is."""
        filesystem = results[mount.input]
        home = (self._unpacked if filesystem is None else self._directory) / secrets.token_hex(32)
        closing.push_async_callback(self._remove, home)
        if filesystem is None:
            return await self._store.work(self._unpack, vertex, mount, results, home)
        return await self._store.work(self._attach, mount, filesystem, home)

    def _attach(self, mount: Mount, filesystem: FileSystem, home: Path) -> str:
        """Mount a file system; the path below it has no links left. Blocking."""
        with self._store.tree(filesystem) as tree:
            real = _existing(tree, mount)
        target = self._make(home)
        fd = self._store.mount_fd(filesystem, "" if mount.read_only else home.name)
        try:
            at = os.open(target, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                move_mount(fd, at)
            finally:
                os.close(at)
        finally:
            os.close(fd)
        return os.path.join(target, real)

    def _unpack(self, vertex: Vertex, mount: Mount, results: Sequence[FileSystem | None], home: Path) -> str:
        """Write what the client sent, as far as it is shown. Blocking."""
        target = self._make(home)

        def fill(writer: TarWriter) -> None:
            with self._inputs.open(vertex, results) as trees:
                plan = LayerPlan(EmptyTree(), Attributes(now_ns=self._store.now_ns()))
                taken = _taken(trees[mount.input], mount, results[mount.input])
                plan.place(Selection((taken,), several=False), "/shown")
                plan.write(writer)

        tar = PipedTar(fill)
        try:
            fd = os.open(target, _DIRECTORY)
            try:
                LayerExtractor(fd, lambda _path: None).extract(TarReader(tar))
            finally:
                os.close(fd)
        finally:
            tar.close()
        return os.path.join(target, "shown")

    def _make(self, home: Path) -> Path:
        """The directory to mount at. No user of the host gets there: images have setuid programs (CVE-2021-41091)."""
        home.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        home.mkdir(mode=0o700)
        target = home / MOUNTED
        target.mkdir()
        return target

    @never_half_done
    async def _remove(self, home: Path) -> None:
        await blocking.run(remove_home, home)
        self._store.remove_snapshot(home.name)


def _existing(tree: Tree, mount: Mount) -> str:
    """The source without links. Raises NotFound."""
    real = resolve(tree, mount.source)
    if tree.lstat(real) is None:
        raise NotFound(f'failed to compute cache key: "{mount.source}": not found')
    return real


def _taken(tree: Tree, mount: Mount, filesystem: FileSystem | None) -> Taken:
    """What a mount shows; what the client sent is root's."""
    _existing(tree, mount)
    return take(tree, mount.source, keeps_owner=filesystem is not None)


def _bind(mount: Mount, source: str) -> HostMount:
    return HostMount(type="bind", source=source, target=mount.target, read_only=mount.read_only)


def _tmpfs(mount: Mount) -> HostMount:
    """As BuildKit has them: for everybody, programs included, but for set-id bits. `mode` cannot be given."""
    options = TmpfsOptions(size_bytes=mount.size, mode=0o1777, options=[["exec"], ["dev"]])
    return HostMount(type="tmpfs", target=mount.target, tmpfs_options=options, read_only=mount.read_only)
