"""`RUN --mount`: what a step's container has besides its root, as bind mounts of the engine. Daemon's loop; threads.

An image's or stage's file system is mounted below `directory` for the step, read-only, or as a snapshot of its own when
it may be written; what the client sent is `shown.py`'s; a cache is a directory that stays. What a killed daemon left
is removed at the next start (`mount_homes.sweep`). Secrets and agents are in `offered.py`.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from corten.build.cache_mounts import CacheMounts
from corten.build.copying.select import Taken, digest, take
from corten.build.filesystem import FileSystem
from corten.build.graph import Vertex
from corten.build.operations import Mount, Run
from corten.build.ops.cache_contents import CacheContents, ImportedMounts
from corten.build.ops.inputs import Inputs
from corten.build.ops.mount_homes import attach, make_home, remove_home
from corten.build.ops.shown import ShownFiles
from corten.build.ops.store import LayerStore
from corten.build.trees.tree import Tree, resolve
from corten.engine.images.settled import never_half_done
from corten.errors import NotFound
from corten.lib import blocking
from corten.spec.docker.hostconfig import Mount as HostMount
from corten.spec.docker.hostconfig import TmpfsOptions


class StepMounts:
    """The mounts of one build's steps, attached below `directory`. To be closed."""

    def __init__(
        self,
        *,
        store: LayerStore,
        inputs: Inputs,
        caches: CacheMounts,
        directory: Path,
        shown: ShownFiles,
        imported: ImportedMounts,
    ) -> None:
        self._shown = shown
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

    async def close(self) -> None:
        """The build is over."""
        await self._shown.close()

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
        if filesystem is None:
            return await closing.enter_async_context(self._shown.hold(vertex, mount))
        home = self._directory / secrets.token_hex(32)
        closing.push_async_callback(self._remove, home)
        return await self._store.work(self._attach, mount, filesystem, home)

    def _attach(self, mount: Mount, filesystem: FileSystem, home: Path) -> str:
        """Mount a file system; the path below it has no links left. Blocking."""
        with self._store.tree(filesystem) as tree:
            real = _existing(tree, mount)
        target = make_home(home)
        fd = self._store.mount_fd(filesystem, "" if mount.read_only else home.name)
        try:
            attach(fd, target)
        finally:
            os.close(fd)
        return os.path.join(target, real)

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
