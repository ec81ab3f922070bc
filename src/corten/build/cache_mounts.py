"""Directories that RUN steps keep between builds (`RUN --mount=type=cache`). Daemon's loop.

Each id has a directory of its own below `root`, named by a digest. `shared` ones are used by many steps at once,
`locked` ones by one at a time, and of `private` ones each step that runs at the same time has another.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from corten.build.operations import Mount
from corten.lib import blocking
from corten.lib.keylock import KeyLock
from corten.linux.tree import allocated, remove_tree

_NAME_BYTES = 16


class CacheMounts:
    """All cache mounts; one a daemon."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._locks = KeyLock()
        self._uses: Counter[str] = Counter()

    @asynccontextmanager
    async def hold(self, mount: Mount) -> AsyncIterator[str]:
        """The directory of a mount, made with its mode and owner when it is missing, in use as long as the block."""
        name = hashlib.sha256((mount.id or mount.target).encode("utf-8", "surrogateescape")).hexdigest()
        name = name[: 2 * _NAME_BYTES]
        if mount.sharing == "locked":
            async with self._locks.hold(name), self._used(name, mount) as path:
                yield path
            return
        number, one = 0, name
        while mount.sharing == "private" and self._uses[one]:
            number += 1
            one = f"{name}-{number}"
        async with self._used(one, mount) as path:
            yield path

    @asynccontextmanager
    async def _used(self, name: str, mount: Mount) -> AsyncIterator[str]:
        path = os.fspath(self._root / name)
        self._uses[name] += 1
        try:
            async with self._locks.hold(path):  # not while it is being deleted
                await blocking.run(_make, path, mount)
            yield path
        finally:
            self._uses[name] -= 1

    async def prune(self) -> int:
        """Delete those that no step uses; how many bytes they had."""
        freed = 0
        for name in await blocking.run(_names, self._root):
            async with self._locks.hold(os.fspath(self._root / name)):
                if not self._uses[name]:
                    freed += await blocking.run(_remove, self._root, name)
        return freed


def _make(path: str, mount: Mount) -> None:
    os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        return
    os.chown(path, mount.uid, mount.gid)
    os.chmod(path, mount.mode)


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
