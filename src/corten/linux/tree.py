"""Walking and removing directory trees that somebody else made, by descriptor. Any process.

No path is ever put together from names: each step is relative to a directory's descriptor and never follows a link.
Trees may be deeper than the number of descriptors or PATH_MAX allows: below some levels one descriptor is held, and the
way up is `..`, checked against the inode that was left, so that a tree changed meanwhile ends the walk instead of
leading out of it.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from typing import NamedTuple

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_HELD = 32  # levels whose directories stay open: whatever is moved meanwhile, the walk finds back to them


class Found(NamedTuple):
    """One entry of a walk. `directory` is valid until the walk goes on."""

    path: bytes
    directory: int
    name: bytes
    status: os.stat_result


def walk(root_fd: int, *, enters: Callable[[bytes, bool], bool] = lambda _path, _crossing: True) -> Iterator[Found]:
    """Each entry below `root_fd`, a directory before its content, names sorted; `root_fd` stays the caller's.

    `enters` is asked whether to go on into a directory, by its path and whether it is on another file system. Raises
    OSError, with ESTALE when the tree was changed so that there is no way back.
    """
    path = prefix = b""
    ends = [0]  # how much of the prefix belongs to each level

    def enters_here(crossing: bool) -> bool:
        return enters(path, crossing)

    for level, directory, name, status in _visit(root_fd, enters_here):
        if level == len(ends):
            prefix = path + b"/"
            ends.append(len(prefix))
        elif len(prefix) != ends[level]:
            del ends[level + 1 :]
            prefix = prefix[: ends[level]]
        path = prefix + name
        yield Found(path, directory, name, status)


class _Level(NamedTuple):
    identity: tuple[int, int]
    fd: int  # -1 when it is not held
    names: list[bytes]


def _visit(root_fd: int, enters: Callable[[bool], bool]) -> Iterator[tuple[int, int, bytes, os.stat_result]]:
    """(level, directory, name, status) of each entry."""
    fd = os.open(b".", _DIRECTORY, dir_fd=root_fd)
    stack = [_Level(_identity(fd), fd, [])]
    try:
        stack[0].names.extend(_names(fd))
        while stack:
            level = stack[-1]
            if not level.names:
                fd = _leave(fd, stack)
                continue
            name = level.names.pop()
            try:
                status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            except FileNotFoundError:
                continue
            yield len(stack) - 1, fd, name, status
            if stat.S_ISDIR(status.st_mode) and enters(status.st_dev != level.identity[0]):
                fd = _enter(fd, name, stack)
    finally:
        for held in {fd, *(level.fd for level in stack)} - {-1}:
            os.close(held)


def _enter(fd: int, name: bytes, stack: list[_Level]) -> int:
    """Go down, unless it is no directory any more; the descriptor of where the walk is."""
    try:
        child = os.open(name, _DIRECTORY, dir_fd=fd)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return fd
        raise
    try:
        level = _Level(_identity(child), child if len(stack) < _HELD else -1, _names(child))
    except BaseException:
        os.close(child)
        raise
    if stack[-1].fd < 0:
        os.close(fd)
    stack.append(level)
    return child


def _leave(fd: int, stack: list[_Level]) -> int:
    """Go up; the descriptor of where the walk is, or -1 at its end."""
    stack.pop()
    if not stack or stack[-1].fd >= 0:
        os.close(fd)
        return stack[-1].fd if stack else -1
    return _up(fd, stack[-1].identity)


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
    """Bytes of all below but directories, each inode once, as Docker counts a layer: links, too, have a size."""
    seen: set[int] = set()
    total = 0
    for _level, _directory, _name, status in _visit(root_fd, lambda _crossing: True):
        if not stat.S_ISDIR(status.st_mode) and (status.st_nlink == 1 or status.st_ino not in seen):
            seen.add(status.st_ino)
            total += status.st_size
    return total


def allocated(path: str | bytes) -> int:
    """Bytes on disk of `path` and what is below it on the same file system, as du(1) counts; 0 when it is missing."""
    try:
        status = os.lstat(path)
        total = status.st_blocks * 512
        if not stat.S_ISDIR(status.st_mode):
            return total
        root = os.open(path, _DIRECTORY)
    except FileNotFoundError:
        return 0
    device = status.st_dev
    seen: set[int] = set()
    try:
        for _level, _directory, _name, status in _visit(root, lambda crossing: not crossing):
            several = status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode)
            if status.st_dev == device and not (several and status.st_ino in seen):
                seen.update((status.st_ino,) if several else ())
                total += status.st_blocks * 512
    finally:
        os.close(root)
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
