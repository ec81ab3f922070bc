"""Pack a directory tree into a tar, by descriptor. Blocking; daemon.

Hard links are found by inode; sockets are left out, as in every tar; a file that shrinks while it is read is filled
with zeros, one that grows is cut, so that the archive stays one. With `layer` overlayfs' marks become a layer's: a
whiteout is `.wh.NAME`, an opaque directory holds `.wh..wh..opq` (OCI image-spec, layer.md).
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator

from corten.lib.tar import Entry
from corten.lib.tar_writer import TarWriter
from corten.linux.tree import walk
from corten.store.snapshots.lookup import is_opaque, is_whiteout

_CHUNK = 1 << 20
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_KINDS = {
    stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink", stat.S_IFCHR: "char",
    stat.S_IFBLK: "block", stat.S_IFIFO: "fifo",
}  # fmt: skip


class Packer:
    """Adds files and trees to one tar."""

    def __init__(self, writer: TarWriter, *, layer: bool = False) -> None:
        self._writer = writer
        self._layer = layer
        self._links: dict[tuple[int, int], bytes] = {}

    def tree(self, root_fd: int, prefix: bytes = b"") -> None:
        """Everything below a directory, as `prefix` + path."""
        for found in walk(root_fd):
            self.entry(found.directory, found.name, prefix + found.path, found.status)

    def entry(self, directory: int, name: bytes, path: bytes, status: os.stat_result) -> None:
        """One inode, without what is below it."""
        kind = _KINDS.get(stat.S_IFMT(status.st_mode))
        if kind is None:
            return
        if self._layer and is_whiteout(status):
            head, _slash, tail = path.rpartition(b"/")
            mark = head + _slash + b".wh." + tail
            self._writer.add(Entry(mark, "file", 0o600, 0, 0, 0, status.st_mtime_ns))
            return
        entry = Entry(path, kind, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, 0, status.st_mtime_ns)
        if kind == "symlink":
            entry.link = os.readlink(name, dir_fd=directory)
        elif kind in ("char", "block"):
            entry.device = (os.major(status.st_rdev), os.minor(status.st_rdev))
        elif kind == "file" and self._is_known_link(entry, status):
            self._writer.add(entry)
            return
        elif kind == "directory":
            entry.name += b"/"
        entry.xattrs = _xattrs(directory, name)
        if kind == "file":
            entry.size = status.st_size
            self._file(directory, name, entry)
            return
        self._writer.add(entry)
        if kind == "directory" and self._layer and self._opaque(directory, name):
            self._writer.add(Entry(path + b"/.wh..wh..opq", "file", 0o600, 0, 0, 0, status.st_mtime_ns))

    def _is_known_link(self, entry: Entry, status: os.stat_result) -> bool:
        if status.st_nlink < 2:
            return False
        identity = (status.st_dev, status.st_ino)
        first = self._links.setdefault(identity, entry.name)
        if first == entry.name:
            return False
        entry.kind, entry.link = "hardlink", first
        return True

    def _file(self, directory: int, name: bytes, entry: Entry) -> None:
        fd = os.open(name, _FILE, dir_fd=directory)
        try:
            self._writer.add(entry, _exactly(fd, entry.size))
        finally:
            os.close(fd)

    @staticmethod
    def _opaque(directory: int, name: bytes) -> bool:
        fd = os.open(name, _DIRECTORY, dir_fd=directory)
        try:
            return is_opaque(fd)
        finally:
            os.close(fd)


def _exactly(fd: int, size: int) -> Iterator[bytes]:
    left = size
    while left:
        data = os.read(fd, min(left, _CHUNK)) or b"\0" * min(left, _CHUNK)
        left -= len(data)
        yield data


def _xattrs(directory: int, name: bytes) -> dict[bytes, bytes]:
    """All but overlayfs' own; a file system without them has none."""
    path = b"/proc/self/fd/%d/%s" % (directory, name)
    found: dict[bytes, bytes] = {}
    with contextlib.suppress(OSError):
        for attribute in os.listxattr(path, follow_symlinks=False):
            if not attribute.startswith(("trusted.overlay.", "user.overlay.")):
                found[os.fsencode(attribute)] = os.getxattr(path, attribute, follow_symlinks=False)
    return found
