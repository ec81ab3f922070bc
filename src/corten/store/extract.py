"""Unpack one layer's tar into a directory, as hostile as it may be. Blocking; a thread of the daemon, as root.

Parents are opened one name at a time without following links; a parent that is a link of the same layer is resolved by
openat2(RESOLVE_IN_ROOT), so it can only lead back into the layer. The last name is never followed: what is in its place
is removed first. Whiteouts become overlayfs' own (char 0:0, trusted.overlay.opaque); overlay's attributes that come in
a layer are dropped, since the kernel would obey them (CVE list: tar breakout, overlay xattr injection).
tarfile is not used: its extraction has been broken out of more than once (CVE-2007-4559, CVE-2025-4517).
"""

from __future__ import annotations

import errno
import os
import stat
from collections import OrderedDict
from dataclasses import dataclass

from corten.lib.tar import Entry, TarReader
from corten.linux.openat2 import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, openat2
from corten.linux.tree import remove_tree, usage
from corten.store.entries import (
    IMPLICIT,
    OPAQUE,
    WHITEOUT,
    Inherited,
    check_entry,
    hidden_by,
    kept_xattrs,
    leads_nowhere,
    leads_to_directory,
    link_source,
    no_directory,
    split_name,
)
from corten.store.erofs.xattrs import is_acl

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_RESOLVE = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
_OPEN_DIRECTORIES = 64
_OPAQUE_XATTR = "trusted.overlay.opaque"
_DEFAULT_ACL = b"system.posix_acl_default"


@dataclass(slots=True)
class _Unfinished:
    """What a directory gets when all is in it: its time, and the ACL that all made in it would have inherited."""

    path: tuple[bytes, ...]
    mtime_ns: int
    default_acl: bytes | None


class LayerExtractor:
    """Writes entries below `root_fd` (the caller's). `inherited` tells the attributes that a directory has in the
    layers below, for directories that the tar uses without naming them."""

    layer = True  # whether names beginning with `.wh.` speak of the layers below

    def __init__(self, root_fd: int, inherited: Inherited) -> None:
        self._root = root_fd
        self._inherited = inherited
        self._open: OrderedDict[tuple[bytes, ...], int] = OrderedDict()
        self._unfinished: dict[int, _Unfinished] = {}  # by inode
        self._saw_root = False
        self._written = 0
        self._replaced = False

    def extract(self, reader: TarReader) -> None:
        """Unpack everything. Raises InvalidTar, OSError; the directory is then the caller's to remove."""
        try:
            for entry in reader:
                self._place(entry, reader)
            if not self._saw_root and (attributes := self._inherited(())) is not None:
                _own(self._root, *attributes)
            self._finish_directories()
        finally:
            for fd in self._open.values():
                os.close(fd)
            self._open.clear()

    def size(self) -> int:
        """Bytes of what was unpacked, as linux.tree.usage counts: it is asked where the tar named something twice."""
        return usage(self._root) if self._replaced else self._written

    def _finish_directories(self) -> None:
        """At last, since whatever is made in a directory changes its time. Those that were replaced are passed over."""
        for inode, unfinished in self._unfinished.items():
            try:
                fd = self._resolve(unfinished.path)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                    continue
                raise
            try:
                if os.fstat(fd).st_ino == inode:
                    if unfinished.default_acl is not None:
                        _set_xattr(fd, _DEFAULT_ACL, unfinished.default_acl)
                    os.utime(fd, ns=(unfinished.mtime_ns, unfinished.mtime_ns))
            finally:
                os.close(fd)

    # -- names

    def _place(self, entry: Entry, reader: TarReader) -> None:
        path = split_name(entry.name, whiteouts=self.layer)
        check_entry(entry)
        if not path:
            if entry.kind == "directory":
                self._saw_root = True
                self._finish_directory((), self._root, entry)
            return
        name = path[-1]
        if self.layer and name.startswith(WHITEOUT):
            self._whiteout(path)
            return
        parent = self._directory(path[:-1])
        if entry.kind == "directory":
            self._make_directory(path, parent, entry)
            return
        if entry.kind == "hardlink":
            self._link(path, parent, entry)
            return
        make = {"file": self._file, "symlink": self._symlink}.get(entry.kind, self._node)
        try:
            make(parent, name, entry, reader)
        except FileExistsError:
            self._clear(name, parent)
            make(parent, name, entry, reader)

    def _directory(self, path: tuple[bytes, ...]) -> int:
        """A descriptor of a directory of the layer, made if it is missing; kept open for what comes next."""
        if not path:
            return self._root
        known = self._open.get(path)
        if known is not None:
            self._open.move_to_end(path)
            return known
        depth = len(path) - 1
        while depth and path[:depth] not in self._open:
            depth -= 1
        fd = self._open[path[:depth]] if depth else self._root
        for level in range(depth, len(path)):
            try:
                child = self._step(path[: level + 1], fd)
            finally:
                if level > depth:
                    os.close(fd)
            fd = child
        self._remember(path, fd)
        return fd

    def _step(self, path: tuple[bytes, ...], parent: int) -> int:
        try:
            return os.open(path[-1], _DIRECTORY, dir_fd=parent)
        except FileNotFoundError:
            return self._implicit_directory(path, parent)
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.ENOTDIR):
                raise
            return self._through_link(path)

    def _implicit_directory(self, path: tuple[bytes, ...], parent: int) -> int:
        os.mkdir(path[-1], 0o755, dir_fd=parent)
        fd = os.open(path[-1], _DIRECTORY, dir_fd=parent)
        self._unfinished.pop(os.fstat(fd).st_ino, None)  # of one that is gone
        _own(fd, *(self._inherited(path) or IMPLICIT))  # the kernel's choice would depend on the directory above
        return fd

    def _through_link(self, path: tuple[bytes, ...]) -> int:
        try:
            return self._resolve(path)
        except OSError as error:
            raise no_directory(path, error.strerror or "") from error

    def _resolve(self, path: tuple[bytes, ...]) -> int:
        """A directory, links on the way being followed inside the layer. Raises OSError."""
        return openat2(self._root, b"/".join(path) or b".", os.O_RDONLY | os.O_DIRECTORY, resolve=_RESOLVE)

    def _remember(self, path: tuple[bytes, ...], fd: int) -> None:
        self._open[path] = fd
        if len(self._open) > _OPEN_DIRECTORIES:
            _path, oldest = self._open.popitem(last=False)
            os.close(oldest)

    def _clear(self, name: bytes, parent: int) -> None:
        """Remove what is in the way. What else is open may have been reached through it, by whatever links."""
        for known in [known for known, fd in self._open.items() if fd != parent]:
            os.close(self._open.pop(known))
        self._replaced = True
        remove_tree(name, dir_fd=parent)

    # -- kinds

    def _whiteout(self, path: tuple[bytes, ...]) -> None:
        target = hidden_by(path[-1])
        if target is None:
            return
        if target == OPAQUE:
            os.setxattr(self._directory(path[:-1]), _OPAQUE_XATTR, b"y")
            return
        parent = self._directory(path[:-1])
        try:
            os.mknod(target, stat.S_IFCHR, 0, dir_fd=parent)
        except FileExistsError:
            # Whiteouts speak of the layers below, wherever they stand in the tar: what this layer has stays.
            if stat.S_ISDIR(os.stat(target, dir_fd=parent, follow_symlinks=False).st_mode):
                os.setxattr(self._directory((*path[:-1], target)), _OPAQUE_XATTR, b"y")

    def _make_directory(self, path: tuple[bytes, ...], parent: int, entry: Entry) -> None:
        name, opaque, is_new = path[-1], False, True
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        except FileExistsError:
            there = os.stat(name, dir_fd=parent, follow_symlinks=False)
            is_new = not stat.S_ISDIR(there.st_mode)
            if is_new:
                opaque = self.layer and _is_whiteout(there)
                self._clear(name, parent)
                os.mkdir(name, 0o700, dir_fd=parent)
        fd = self._open.get(path)
        if fd is None:
            fd = os.open(name, _DIRECTORY, dir_fd=parent)
            self._remember(path, fd)
        if is_new:
            self._unfinished.pop(os.fstat(fd).st_ino, None)  # of one that is gone
        if opaque:
            os.setxattr(fd, _OPAQUE_XATTR, b"y")
        self._finish_directory(path, fd, entry)

    def _finish_directory(self, path: tuple[bytes, ...], fd: int, entry: Entry) -> None:
        _own(fd, entry.mode, entry.uid, entry.gid)
        _set_xattrs(fd, entry)
        inode = os.fstat(fd).st_ino
        before = self._unfinished.get(inode)
        default_acl = entry.xattrs.get(_DEFAULT_ACL)
        if before is not None and (default_acl is None or not is_acl(default_acl)):
            default_acl = before.default_acl  # as setxattr(2) leaves it that refuses another
        self._unfinished[inode] = _Unfinished(path, entry.mtime_ns, default_acl)

    def _file(self, parent: int, name: bytes, entry: Entry, reader: TarReader) -> None:
        fd = os.open(name, _CREATE, entry.mode & 0o777, dir_fd=parent)
        try:
            if entry.pieces is None:
                for chunk in reader.data():
                    _write(fd, chunk)
            else:
                _write_sparse(fd, entry, reader)
            self._written += entry.size
            _own(fd, entry.mode, entry.uid, entry.gid)
            if entry.xattrs:
                _set_xattrs(fd, entry)
            os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
        finally:
            os.close(fd)

    def _symlink(self, parent: int, name: bytes, entry: Entry, _reader: TarReader) -> None:
        os.symlink(entry.link, name, dir_fd=parent)
        self._written += len(entry.link)
        os.chown(name, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)
        _set_xattrs(f"/proc/self/fd/{parent}/{os.fsdecode(name)}", entry)
        os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=parent, follow_symlinks=False)

    @staticmethod
    def _node(parent: int, name: bytes, entry: Entry, _reader: TarReader) -> None:
        kinds = {"char": stat.S_IFCHR, "block": stat.S_IFBLK, "fifo": stat.S_IFIFO}
        kind = kinds[entry.kind]
        os.mknod(name, kind | (entry.mode & 0o777), os.makedev(*entry.device), dir_fd=parent)
        # A container may have put a link in its place by now: what is opened is asked, and no name is used again.
        fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            if stat.S_IFMT(os.fstat(fd).st_mode) != kind:
                raise OSError(errno.ESTALE, "the file was replaced while it was made", os.fsdecode(name))
            path = f"/proc/self/fd/{fd}"
            os.chown(path, entry.uid, entry.gid)
            os.chmod(path, entry.mode)
            _set_xattrs(path, entry, follow=True)
            os.utime(path, ns=(entry.mtime_ns, entry.mtime_ns))
        finally:
            os.close(fd)

    def _link(self, path: tuple[bytes, ...], parent: int, entry: Entry) -> None:
        source = link_source(entry, layer=self.layer)
        if source == path:
            return
        from_fd = os.dup(self._directory(source[:-1]))
        try:
            parent = self._directory(path[:-1])
            found = os.stat(source[-1], dir_fd=from_fd, follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode):
                raise leads_to_directory(entry)
            if self.layer and _is_whiteout(found):
                raise leads_nowhere(entry)
            for _attempt in range(2):
                try:
                    os.link(source[-1], path[-1], src_dir_fd=from_fd, dst_dir_fd=parent, follow_symlinks=False)
                except FileExistsError:
                    if os.path.samestat(found, os.stat(path[-1], dir_fd=parent, follow_symlinks=False)):
                        return  # it is a name of that file already
                    self._clear(path[-1], parent)
                else:
                    return
        except FileNotFoundError as error:
            raise leads_nowhere(entry) from error
        finally:
            os.close(from_fd)


def _is_whiteout(status: os.stat_result) -> bool:
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def _own(fd: int, mode: int, uid: int, gid: int) -> None:
    os.fchown(fd, uid, gid)  # always: below a setgid directory even a new file of root's is not root's
    os.fchmod(fd, mode)


def _set_xattrs(target: int | str, entry: Entry, *, follow: bool = False) -> None:
    """All but a default ACL: directories get theirs at last, and nothing else has one."""
    for name, value in kept_xattrs(entry).items():
        if name != _DEFAULT_ACL:
            _set_xattr(target, name, value, follow=follow)


def _set_xattr(target: int | str, name: bytes, value: bytes, *, follow: bool = False) -> None:
    try:
        os.setxattr(target, name, value, follow_symlinks=follow or isinstance(target, int))
    except OSError as error:
        # What the file system or the host's security module does not know is left out, as every engine does.
        if error.errno not in (errno.ENOTSUP, errno.EPERM, errno.EINVAL):
            raise


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _write_sparse(fd: int, entry: Entry, reader: TarReader) -> None:
    """Data to its places, holes as holes: a map may claim terabytes."""
    os.ftruncate(fd, entry.size)
    pieces = iter(entry.pieces or ())
    offset, left = next(pieces, (0, 0))
    for chunk in reader.data():
        view = memoryview(chunk)
        while view and left:
            written = os.pwrite(fd, view[:left], offset)
            view, offset, left = view[written:], offset + written, left - written
            if not left:
                offset, left = next(pieces, (0, 0))
