"""Pack a directory tree into a tar, by descriptor. Blocking; daemon.

Hard links are found by inode; sockets are left out, as in every tar; a file that shrinks while it is read is filled
with zeros, one that grows is cut, one that vanishes is left out, so that the archive stays one. With `layer` overlayfs'
marks become a layer's: a whiteout is `.wh.NAME`, an opaque directory holds `.wh..wh..opq` (OCI image-spec, layer.md).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import threading
from collections.abc import Callable, Iterator

from corten.lib.tar import Entry
from corten.lib.tar_writer import TarWriter
from corten.linux.tree import walk
from corten.store.snapshots.lookup import is_opaque, is_whiteout

_CHUNK = 1 << 20
_PATH_LIMIT = 4096  # nobody could unpack what lies deeper
_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_KINDS = {
    stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink", stat.S_IFCHR: "char",
    stat.S_IFBLK: "block", stat.S_IFIFO: "fifo",
}  # fmt: skip


class Packer:
    """Adds files and trees to one tar."""

    def __init__(self, writer: TarWriter, *, layer: bool = False, newest_ns: int | None = None) -> None:
        self._writer = writer
        self._layer = layer
        self._newest_ns = newest_ns
        self._links: dict[tuple[int, int], bytes] = {}

    def tree(
        self,
        root_fd: int,
        prefix: bytes = b"",
        *,
        enters: Callable[[bytes, bool], bool] = lambda _path, _crossing: True,
    ) -> None:
        """Everything below a directory, as `prefix` + path; `enters` as in linux.tree.walk."""
        for found in walk(root_fd, enters=lambda path, crossing: len(path) < _PATH_LIMIT and enters(path, crossing)):
            self.entry(found.directory, found.name, prefix + found.path, found.status)

    def root(self, root_fd: int) -> None:
        """The directory itself, as `./`."""
        self.entry(root_fd, b".", b".", os.fstat(root_fd))

    def entry(self, directory: int, name: bytes, path: bytes, status: os.stat_result) -> None:
        """One inode, without what is below it."""
        try:
            self._entry(directory, name, path, status)
        except FileNotFoundError:  # it vanished, before anything of it was written: others may be links to it
            identity = (status.st_dev, status.st_ino)
            if self._links.get(identity) == path:
                del self._links[identity]

    def _entry(self, directory: int, name: bytes, path: bytes, status: os.stat_result) -> None:
        kind = _KINDS.get(stat.S_IFMT(status.st_mode))
        if kind is None:
            return
        mtime_ns = status.st_mtime_ns if self._newest_ns is None else min(status.st_mtime_ns, self._newest_ns)
        if self._layer and is_whiteout(status):
            head, slash, tail = path.rpartition(b"/")
            mark = head + slash + b".wh." + tail
            self._writer.add(Entry(mark, "file", 0o600, 0, 0, 0, mtime_ns))
            return
        entry = Entry(path, kind, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, 0, mtime_ns)
        if kind == "symlink":
            entry.link = os.readlink(name, dir_fd=directory)
        elif kind in ("char", "block"):
            entry.device = (os.major(status.st_rdev), os.minor(status.st_rdev))
        elif kind == "directory" and not path.endswith(b"/"):
            entry.name += b"/"
        if kind != "directory" and self._is_known_link(entry, status):
            self._writer.add(entry)
            return
        entry.xattrs = xattrs_of(directory, name)
        if kind == "file":
            self._file(directory, name, entry)
            return
        self._writer.add(entry)
        if kind == "directory" and self._layer and self._opaque(directory, name):
            self._writer.add(Entry(path + b"/.wh..wh..opq", "file", 0o600, 0, 0, 0, mtime_ns))

    def _is_known_link(self, entry: Entry, status: os.stat_result) -> bool:
        if status.st_nlink < 2:
            return False
        first = self._links.setdefault((status.st_dev, status.st_ino), entry.name)
        if first == entry.name:
            return False
        entry.kind, entry.link = "hardlink", first
        return True

    def _file(self, directory: int, name: bytes, entry: Entry) -> None:
        """A regular file. It is opened only after it was seen to be one: opening a device acts on the device."""
        path_fd = os.open(name, _PATH, dir_fd=directory)
        try:
            status = os.fstat(path_fd)
            if not stat.S_ISREG(status.st_mode):
                raise FileNotFoundError("the file was replaced meanwhile")
            fd = os.open(f"/proc/self/fd/{path_fd}", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            os.close(path_fd)
        try:
            entry.size = status.st_size
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


class PipedTar:
    """A tar to be read that `fill` writes: a thread writes into a pipe as far as the reader goes."""

    def __init__(self, fill: Callable[[TarWriter], None]) -> None:
        self._error: BaseException | None = None
        self._read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
        with contextlib.suppress(OSError):  # a larger one spares both threads waiting for each other
            fcntl.fcntl(write_fd, fcntl.F_SETPIPE_SZ, _CHUNK)
        self._thread = threading.Thread(target=self._run, args=(fill, write_fd), name="corten-layer", daemon=True)
        self._thread.start()

    def _run(self, fill: Callable[[TarWriter], None], write_fd: int) -> None:
        try:
            with os.fdopen(write_fd, "wb", buffering=1 << 18) as file:
                writer = TarWriter(file.write)
                fill(writer)
                writer.finish()
        except BaseException as error:  # raised by read, in the reader's thread
            self._error = error

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes; raises at the end what the packing failed of."""
        data = os.read(self._read_fd, size if size >= 0 else _CHUNK)
        if not data and size:
            self._thread.join()
            if self._error is not None:
                raise self._error
        return data

    def close(self) -> None:
        """End the packing; safe to call twice."""
        if self._read_fd >= 0:
            os.close(self._read_fd)
            self._read_fd = -1
            self._thread.join()


class PackedLayer(PipedTar):
    """An upper directory as a layer's tar, to be read.

    The root is a member, as in the layers of most images: the first bytes are ours then, and not a name that a
    container chose, which may look like those of a compressed stream.
    """

    def __init__(self, upper_fd: int) -> None:
        def fill(writer: TarWriter) -> None:
            try:
                packer = Packer(writer, layer=True)
                packer.root(upper_fd)
                packer.tree(upper_fd)
            finally:
                os.close(upper_fd)

        super().__init__(fill)


def _exactly(fd: int, size: int) -> Iterator[bytes]:
    left = size
    while left:
        data = os.read(fd, min(left, _CHUNK)) or b"\0" * min(left, _CHUNK)
        left -= len(data)
        yield data


def xattrs_of(directory: int, name: bytes) -> dict[bytes, bytes]:
    """All but overlayfs' own; a file system without them has none."""
    path = b"/proc/self/fd/%d/%s" % (directory, name)
    found: dict[bytes, bytes] = {}
    with contextlib.suppress(OSError):
        for attribute in os.listxattr(path, follow_symlinks=False):
            if not attribute.startswith(("trusted.overlay.", "user.overlay.")):
                found[os.fsencode(attribute)] = os.getxattr(path, attribute, follow_symlinks=False)
    return found
