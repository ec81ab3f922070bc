"""Resolve and create paths inside a container's root, which the container's image controls. Stdlib only.

Everything goes by descriptor: openat2 with RESOLVE_IN_ROOT when the path exists, and when it does not, a walk that
opens one component at a time without following links and reads links itself, so that a directory moved meanwhile can
never lead outside (CVE-2021-30465, CVE-2019-16884, CVE-2023-27561). Runs in init, before pivot_root.
"""

from __future__ import annotations

import errno
import os
import stat

from corten.linux.errors import fail
from corten.linux.openat2 import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, openat2

_MAX_LINKS = 40  # MAXSYMLINKS of the kernel
_MAX_COMPONENTS = 512
_PATH_NOFOLLOW = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


def open_in_root(root_fd: int, path: str, *, flags: int = os.O_PATH, symlinks: bool = True) -> int:
    """A descriptor of `path` inside the root. Raises OSError (ENOENT: not there; ELOOP: a link where none may be)."""
    resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | (0 if symlinks else RESOLVE_NO_SYMLINKS)
    return openat2(root_fd, path.lstrip("/") or ".", flags, resolve=resolve)


def ensure_in_root(root_fd: int, path: str, *, directory: bool, mode: int = 0o755, symlinks: bool = True) -> int:
    """A descriptor (O_PATH) of `path` inside the root, created with its parents when missing.

    What exists is taken as it is: the caller checks that it is of the kind it needs.
    """
    try:
        return open_in_root(root_fd, path, symlinks=symlinks)
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
    return _Walk(root_fd, symlinks=symlinks).create(path, directory=directory, mode=mode)


class _Walk:
    """A walk below a root with the chain of open directories on a stack, so that `..` is a pop and never a lookup."""

    def __init__(self, root_fd: int, *, symlinks: bool) -> None:
        self._root_fd = root_fd
        self._symlinks = symlinks
        self._stack: list[int] = []

    def create(self, path: str, *, directory: bool, mode: int) -> int:
        """Walk `path`, make what is missing, return the last component's descriptor."""
        try:
            self._walk(path, directory=directory, mode=mode)
            return self._stack.pop() if self._stack else os.open(".", _PATH_NOFOLLOW, dir_fd=self._root_fd)
        finally:
            self._reset()

    def _walk(self, path: str, *, directory: bool, mode: int) -> None:
        todo = [part for part in reversed(path.split("/")) if part not in {"", "."}]
        links = steps = 0
        while todo:
            steps += 1
            if steps > _MAX_COMPONENTS:
                fail(errno.ENAMETOOLONG, "open", path)
            name = todo.pop()
            if name == "..":
                if self._stack:
                    os.close(self._stack.pop())
                continue
            fd = self._step(name, directory=directory or bool(todo), mode=mode)
            if not stat.S_ISLNK(os.fstat(fd).st_mode):
                self._stack.append(fd)
                continue
            try:
                target = os.readlink("", dir_fd=fd)
            finally:
                os.close(fd)
            links += 1
            if links > _MAX_LINKS or not self._symlinks:
                fail(errno.ELOOP, "open", path)
            if target.startswith("/"):
                self._reset()
            todo += [part for part in reversed(target.split("/")) if part not in {"", "."}]

    def _step(self, name: str, *, directory: bool, mode: int) -> int:
        """Open `name` in the current directory without following it; make it when it is missing."""
        parent = self._stack[-1] if self._stack else self._root_fd
        for _ in range(2):
            try:
                return os.open(name, _PATH_NOFOLLOW, dir_fd=parent)
            except FileNotFoundError:
                pass
            try:
                if directory:
                    os.mkdir(name, mode, dir_fd=parent)
                else:
                    os.close(
                        os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode & 0o666, dir_fd=parent)
                    )
            except FileExistsError:
                pass
        return os.open(name, _PATH_NOFOLLOW, dir_fd=parent)

    def _reset(self) -> None:
        while self._stack:
            os.close(self._stack.pop())
