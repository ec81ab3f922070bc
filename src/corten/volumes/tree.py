"""Walks over directories that containers fill: removal and size, by descriptor, without following anything. Blocking.

Iterative, because a container can nest directories deeper than Python recurses; the walk holds one descriptor for each
level it is in, at most `MAX_DEPTH`: deeper trees are flattened by moving directories up before they are emptied.
"""

from __future__ import annotations

import contextlib
import os
import stat

MAX_DEPTH = 256
_OPEN_DIR = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def remove_tree(parent_fd: int, name: str) -> None:
    """Remove `name` below the directory `parent_fd` with all in it; a missing one is no error. Raises OSError."""
    while True:
        try:
            deep = _remove_once(parent_fd, name)
        except FileNotFoundError:
            return
        if not deep:
            return


def _remove_once(parent_fd: int, name: str) -> bool:
    """One pass; True when something too deep was moved up to `parent_fd`/`name` and another pass is needed."""
    try:
        top = os.open(name, _OPEN_DIR, dir_fd=parent_fd)
    except NotADirectoryError:
        os.unlink(name, dir_fd=parent_fd)
        return False
    except OSError:
        if stat.S_ISLNK(os.stat(name, dir_fd=parent_fd, follow_symlinks=False).st_mode):
            os.unlink(name, dir_fd=parent_fd)
            return False
        raise
    moved = False
    stack: list[tuple[int, str, list[str]]] = [(top, name, os.listdir(top))]
    try:
        while stack:
            fd, own_name, entries = stack[-1]
            if not entries:
                stack.pop()
                os.close(fd)
                if stack or not moved:
                    os.rmdir(own_name, dir_fd=stack[-1][0] if stack else parent_fd)
                continue
            entry = entries.pop()
            try:
                os.unlink(entry, dir_fd=fd)
            except (IsADirectoryError, PermissionError):
                if len(stack) >= MAX_DEPTH:
                    os.rename(entry, f".deep-{os.urandom(8).hex()}", src_dir_fd=fd, dst_dir_fd=top)
                    moved = True
                    continue
                inner = os.open(entry, _OPEN_DIR, dir_fd=fd)
                stack.append((inner, entry, os.listdir(inner)))
    finally:
        for fd, _name, _entries in stack:
            os.close(fd)
    return moved


def tree_size(path: str) -> int:
    """Bytes of the regular files below `path`, each inode once; what vanishes meanwhile is left out."""
    total = 0
    seen: set[tuple[int, int]] = set()
    try:
        top = os.open(path, _OPEN_DIR)
    except OSError:
        return 0
    stack: list[tuple[int, list[str]]] = [(top, os.listdir(top))]
    try:
        while stack:
            fd, entries = stack[-1]
            if not entries:
                stack.pop()
                os.close(fd)
                continue
            entry = entries.pop()
            with contextlib.suppress(OSError):
                status = os.stat(entry, dir_fd=fd, follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode) and len(stack) < MAX_DEPTH:
                    inner = os.open(entry, _OPEN_DIR, dir_fd=fd)
                    stack.append((inner, os.listdir(inner)))
                elif stat.S_ISREG(status.st_mode):
                    key = (status.st_dev, status.st_ino)
                    if status.st_nlink == 1 or key not in seen:
                        seen.add(key)
                        total += status.st_size
    finally:
        for fd, _entries in stack:
            os.close(fd)
    return total
