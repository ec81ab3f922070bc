"""Directories that RUN steps keep between builds (`RUN --mount=type=cache`). Daemon's loop.

Each id has a directory of its own below `root`, named by a digest. `shared` ones are used by many steps at once,
`locked` ones by one at a time, and of `private` ones each step that runs at the same time has another. One with `from`
begins with a copy of that, and is another one when that is other files.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Protocol

from corten.build.operations import Mount
from corten.engine.images.settled import never_half_done
from corten.lib import blocking
from corten.lib.keylock import KeyLock
from corten.linux.tree import allocated, remove_tree

_NAME_BYTES = 16
_NEW = ".new"  # behind the name of one that is not ready


Fill = Callable[[int], None]
"""Writes into a new directory, by descriptor. Blocking."""


class Contents(Protocol):
    """What new directories begin with, for one step."""

    def origin(self, mount: Mount) -> str:
        """What identifies the content that a mount begins with; empty for none."""

    async def filler(self, name: str, mount: Mount) -> Fill | None:
        """What fills the directory called `name`; None leaves it empty."""


class CacheMounts:
    """All cache mounts; one a daemon."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._locks = KeyLock()
        self._uses: Counter[str] = Counter()

    @asynccontextmanager
    async def hold(self, mounts: Iterable[Mount], contents: Contents | None = None) -> AsyncIterator[dict[Mount, str]]:
        """The directories of one step's mounts, made with mode and owner when missing, in use as long as the block.

        `contents` says what a new one begins with. Locks are taken once each and in one order, so that no two steps
        wait for each other, and none for itself.
        """
        names = {mount: name_of(mount, contents.origin(mount) if contents else "") for mount in mounts}
        paths: dict[Mount, str] = {}
        async with AsyncExitStack() as held:
            for name in sorted({name for mount, name in names.items() if mount.sharing == "locked"}):
                await held.enter_async_context(self._locks.hold(name))
            for mount, name in names.items():
                number, one = 0, name
                while mount.sharing == "private" and self._uses[one]:
                    number += 1
                    one = f"{name}-{number}"
                paths[mount] = await held.enter_async_context(self._used(one, name, mount, contents))
            yield paths

    async def is_here(self, mount: Mount) -> bool:
        """Whether the directory of a mount that began empty exists."""
        return await blocking.run(os.path.isdir, self._root / name_of(mount))

    @asynccontextmanager
    async def _used(self, one: str, name: str, mount: Mount, contents: Contents | None) -> AsyncIterator[str]:
        path = os.fspath(self._root / one)
        self._uses[one] += 1
        try:
            async with self._locks.hold(path):  # not while it is being deleted
                if not await blocking.run(os.path.isdir, path):
                    fill = await contents.filler(name, mount) if contents else None
                    await _make_whole(path, mount, fill)
            yield path
        finally:
            self._uses[one] -= 1

    async def prune(self) -> int:
        """Delete those that no step uses; how many bytes they had."""
        return sum([await self._prune(name) for name in await blocking.run(_names, self._root)])

    @never_half_done
    async def _prune(self, name: str) -> int:
        """Delete one that no step uses; how many bytes it had."""
        async with self._locks.hold(os.fspath(self._root / name.removesuffix(_NEW))):
            return 0 if self._uses[name] else await blocking.run(_remove, self._root, name)


def name_of(mount: Mount, origin: str = "") -> str:
    """What a mount's directory is called; `origin` is what it began with, if that was not empty."""
    text = mount.id or mount.target
    digest = hashlib.sha256((f"{text}\0{origin}" if origin else text).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[: 2 * _NAME_BYTES]


@never_half_done
async def _make_whole(path: str, mount: Mount, fill: Fill | None) -> None:
    await blocking.run(_make, path, mount, fill)


def _make(path: str, mount: Mount, fill: Fill | None) -> None:
    """The missing directory: under its name only when its attributes and its content are right."""
    new = path + _NEW
    with contextlib.suppress(FileNotFoundError):  # what a killed daemon left may be half of it
        _remove(Path(new).parent, os.path.basename(new))
    os.makedirs(new, 0o700)
    os.chown(new, mount.uid, mount.gid)
    os.chmod(new, mount.mode)
    if fill is not None:
        fd = os.open(new, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fill(fd)
        finally:
            os.close(fd)
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
