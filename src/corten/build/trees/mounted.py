"""A mounted directory as a tree, by descriptor only. Daemon; blocking.

Made for images' layers, mounted read-only: nobody changes them meanwhile, but they come from anywhere. Directories are
opened by openat2 without any link on the way, names are looked at relative to them.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping

from corten.build.trees.tree import Node
from corten.linux.openat2 import RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, openat2
from corten.store.pack import xattrs_of

_CHUNK = 1 << 20
_RESOLVE = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_LIMIT = 64
_KINDS = {
    stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink", stat.S_IFCHR: "char",
    stat.S_IFBLK: "block", stat.S_IFIFO: "fifo",
}  # fmt: skip


class MountedTree:
    """The tree below a directory's descriptor, which is its own to close; `check` is called now and then, and may
    raise."""

    def __init__(self, root_fd: int, *, check: Callable[[], None] = lambda: None) -> None:
        self._root = root_fd
        self._check = check
        self._open: OrderedDict[str, int] = OrderedDict()

    @property
    def root_fd(self) -> int:
        """The root directory, open as long as the tree is."""
        return self._root

    def close(self) -> None:
        """Close all descriptors."""
        for fd in (*self._open.values(), self._root):
            os.close(fd)
        self._open.clear()

    def _directory(self, path: str) -> int:
        """A directory's descriptor, which stays open for a while. Raises OSError."""
        fd = self._open.get(path)
        if fd is None:  # the root, too: that of a detached mount is a path alone (open_tree(2)), which cannot be listed
            fd = openat2(self._root, os.fsencode(path) or b".", _DIRECTORY, resolve=_RESOLVE)
            self._open[path] = fd
            if len(self._open) > _OPEN_LIMIT:
                os.close(self._open.popitem(last=False)[1])
        return fd

    def lstat(self, path: str) -> Node | None:
        """The inode; sockets are none."""
        head, _, name = path.rpartition("/")
        try:
            directory = self._directory(head)
            status = os.stat(name or ".", dir_fd=directory, follow_symlinks=False)
            kind = _KINDS.get(stat.S_IFMT(status.st_mode))
            link = os.readlink(name, dir_fd=directory) if kind == "symlink" else ""
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                return None
            raise
        if kind is None:
            return None
        several = status.st_nlink > 1 and kind != "directory"
        return Node(
            kind,
            stat.S_IMODE(status.st_mode),
            status.st_uid,
            status.st_gid,
            status.st_size if kind == "file" else 0,
            status.st_mtime_ns,
            link,
            (os.major(status.st_rdev), os.minor(status.st_rdev)) if kind in ("char", "block") else (0, 0),
            (status.st_dev, status.st_ino) if several else None,
        )

    def names(self, path: str) -> list[str]:
        """What a directory holds."""
        self._check()
        return sorted(os.listdir(self._directory(path)))

    def chunks(self, path: str) -> Iterator[bytes]:
        """A file's bytes. Raises OSError; it was seen to be a regular one before."""
        fd = self._opened(path)
        try:
            left = os.fstat(fd).st_size
            while left > 0:
                self._check()
                data = os.read(fd, min(left, _CHUNK))
                if not data:
                    raise OSError(errno.EIO, os.strerror(errno.EIO), path)
                yield data
                left -= len(data)
        finally:
            os.close(fd)

    def part(self, path: str, offset: int, size: int) -> bytes:
        """So many of a file's bytes from an offset on; fewer at its end. What is before them is not read: a file may
        have a hole of any length. Raises as `chunks`."""
        fd = self._opened(path)
        try:
            found = bytearray()
            while len(found) < size and (data := os.pread(fd, min(size - len(found), _CHUNK), offset + len(found))):
                found += data
            return bytes(found)
        finally:
            os.close(fd)

    def _opened(self, path: str) -> int:
        head, _, name = path.rpartition("/")
        return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self._directory(head))

    def xattrs(self, path: str) -> Mapping[bytes, bytes]:
        """All but overlayfs' own."""
        head, _, name = path.rpartition("/")
        return xattrs_of(self._directory(head), os.fsencode(name or "."))

    def digest(self, path: str) -> str:
        """SHA-256."""
        digest = hashlib.sha256()
        for chunk in self.chunks(path):
            digest.update(chunk)
        return digest.hexdigest()
