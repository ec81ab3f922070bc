"""Directories that RUN steps keep between builds (`RUN --mount=type=cache`). Daemon's loop.

Each id has a directory of its own below `root`, named by a digest. `shared` ones are used by many steps at once,
`locked` ones by one at a time, and of `private` ones each step that runs at the same time has another.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from corten.build.operations import Mount
from corten.engine.images.settled import never_half_done
from corten.lib import blocking
from corten.lib.keylock import KeyLock
from corten.linux.tree import allocated, remove_tree

_NAME_BYTES = 16
_NEW = ".new"  # behind the name of one that is not ready


class CacheMounts:
    """All cache mounts; one a daemon."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._locks = KeyLock()
        self._uses: Counter[str] = Counter()

    @asynccontextmanager
    async def hold(self, mounts: Iterable[Mount]) -> AsyncIterator[dict[Mount, str]]:
        """The directories of one step's mounts, made with mode and owner when missing, in use as long as the block.

        Locks are taken once each and in one order, so that no two steps wait for each other, and none for itself.
        """
        names = {mount: _name(mount) for mount in mounts}
        paths: dict[Mount, str] = {}
        async with AsyncExitStack() as held:
            for name in sorted({name for mount, name in names.items() if mount.sharing == "locked"}):
                await held.enter_async_context(self._locks.hold(name))
            for mount, name in names.items():
                number, one = 0, name
                while mount.sharing == "private" and self._uses[one]:
                    number += 1
                    one = f"{name}-{number}"
                paths[mount] = await held.enter_async_context(self._used(one, mount))
            yield paths

    @asynccontextmanager
    async def _used(self, name: str, mount: Mount) -> AsyncIterator[str]:
        path = os.fspath(self._root / name)
        self._uses[name] += 1
        try:
            await self._make(path, mount)
            yield path
        finally:
            self._uses[name] -= 1

    @never_half_done
    async def _make(self, path: str, mount: Mount) -> None:
        async with self._locks.hold(path):  # not while it is being deleted
            await blocking.run(_make, path, mount)

    async def prune(self) -> int:
        """Delete those that no step uses; how many bytes they had."""
        return sum([await self._prune(name) for name in await blocking.run(_names, self._root)])

    @never_half_done
    async def _prune(self, name: str) -> int:
        """Delete one that no step uses; how many bytes it had."""
        async with self._locks.hold(os.fspath(self._root / name.removesuffix(_NEW))):
            return 0 if self._uses[name] else await blocking.run(_remove, self._root, name)


def _name(mount: Mount) -> str:
    """What a mount's directory is called."""
    digest = hashlib.sha256((mount.id or mount.target).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[: 2 * _NAME_BYTES]


def _make(path: str, mount: Mount) -> None:
    """The directory, if it is missing: under its name only when its attributes are right."""
    if os.path.isdir(path):
        return
    new = path + _NEW
    os.makedirs(new, 0o700, exist_ok=True)
    os.chown(new, mount.uid, mount.gid)
    os.chmod(new, mount.mode)
    os.rename(new, path)


def _names(root: Path) -> list[str]:
    try:
        return os.listdir(root)
    except FileNotFoundError:
        return []


def _remove(root: Path, name: str) -> int:
    size = allocated(os.fspath(root / name))
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        remove_tree(name, dir_fd=fd)
    finally:
        os.close(fd)
    return size
