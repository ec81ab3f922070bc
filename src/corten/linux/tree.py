"""Walking and removing directory trees that somebody else made, by descriptor. Any process.

No path is ever put together from names: each step is relative to a directory's descriptor and never follows a link.
Trees may be deeper than the number of descriptors or PATH_MAX allows: one descriptor is held, and the way up is `..`,
checked against the inode that was left, so that a tree changed meanwhile ends the walk instead of leading out of it.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from typing import NamedTuple

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Found(NamedTuple):
    """One entry of a walk. `directory` is valid until the walk goes on."""

    path: bytes
    directory: int
    name: bytes
    status: os.stat_result


def walk(root_fd: int, *, enters: Callable[[bytes, bool], bool] = lambda _path, _crossing: True) -> Iterator[Found]:
    """Each entry below `root_fd`, a directory before its content, names sorted; `root_fd` stays the caller's.

    `enters` is asked whether to go on into a directory, by its path and whether it is on another file system.
    """
    fd = os.open(b".", _DIRECTORY, dir_fd=root_fd)
    stack: list[tuple[tuple[int, int], bytes, list[bytes]]] = []
    try:
        stack.append((_identity(fd), b"", _names(fd)))
        while stack:
            own, path, names = stack[-1]
            if not names:
                stack.pop()
                if stack:
                    fd = _up(fd, stack[-1][0])
                continue
            name = names.pop()
            try:
                status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            except FileNotFoundError:
                continue
            below = path + b"/" + name if path else name
            yield Found(below, fd, name, status)
            if stat.S_ISDIR(status.st_mode) and enters(below, status.st_dev != own[0]):
                try:
                    child = os.open(name, _DIRECTORY, dir_fd=fd)
                except (FileNotFoundError, NotADirectoryError):
                    continue
                except OSError as error:
                    if error.errno == errno.ELOOP:
                        continue
                    raise
                os.close(fd)
                fd = child
                stack.append((_identity(fd), below, _names(fd)))
    finally:
        os.close(fd)


def remove_tree(name: bytes | str, *, dir_fd: int) -> None:
    """Remove `name` below `dir_fd` with all its content, whatever it is. Missing is fine. Raises OSError."""
    name = os.fsencode(name)
    try:
        os.unlink(name, dir_fd=dir_fd)
    except FileNotFoundError:
        return
    except (IsADirectoryError, PermissionError):
        pass
    else:
        return
    fd = os.open(name, _DIRECTORY, dir_fd=dir_fd)
    try:
        stack = [(_identity(fd), name, _names(fd))]
        while stack:
            _own, own_name, names = stack[-1]
            if names:
                entry = names.pop()
                try:
                    os.unlink(entry, dir_fd=fd)
                except FileNotFoundError:
                    continue
                except (IsADirectoryError, PermissionError):
                    child = os.open(entry, _DIRECTORY, dir_fd=fd)
                    os.close(fd)
                    fd = child
                    stack.append((_identity(fd), entry, _names(fd)))
                continue
            stack.pop()
            if stack:
                fd = _up(fd, stack[-1][0])
                os.rmdir(own_name, dir_fd=fd)
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=dir_fd)


def usage(root_fd: int) -> int:
    """Bytes of all files below, each inode once, as Docker counts a layer."""
    seen: set[int] = set()
    total = 0
    for found in walk(root_fd):
        status = found.status
        if stat.S_ISREG(status.st_mode) and (status.st_nlink == 1 or status.st_ino not in seen):
            seen.add(status.st_ino)
            total += status.st_size
    return total


def _identity(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def _names(fd: int) -> list[bytes]:
    return sorted((os.fsencode(name) for name in os.listdir(fd)), reverse=True)


def _up(fd: int, expected: tuple[int, int]) -> int:
    parent = os.open(b"..", _DIRECTORY, dir_fd=fd)
    if _identity(parent) != expected:
        os.close(parent)
        raise OSError(errno.ESTALE, "the directory tree was changed during the walk")
    os.close(fd)
    return parent
