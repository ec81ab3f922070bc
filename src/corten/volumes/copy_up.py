"""Fill a new volume with what the image has at its mount point, as Docker does for empty volumes. Blocking; daemon.

Both sides go by descriptor: the source is resolved inside the image's root (openat2 RESOLVE_IN_ROOT), entries are
opened with O_NOFOLLOW below their parents. Owner, mode, times, extended attributes, links and hard links are kept;
sockets are left out; device nodes are copied, and it is the devices cgroup that guards them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from corten.errors import InvalidArgument
from corten.linux.openat2 import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, openat2

_MAX_DEPTH = 256
_CHUNK = 8 << 20
_OPEN_DIR = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
# Overlay's own marks must never be carried to where an overlay could be mounted on them.
_FORBIDDEN_XATTRS = ("trusted.overlay.", "user.overlay.")


def copy_up(root_fd: int, path: str, volume: str) -> bool:
    """Copy the directory `path` of the root `root_fd` into the directory `volume` when that is empty.

    Returns whether there was something to copy: a missing path, and one that is no directory, are nothing. The volume's
    own directory gets the owner and mode of the source. Raises OSError, InvalidArgument.
    """
    try:
        source = openat2(
            root_fd, path, os.O_RDONLY | os.O_DIRECTORY | os.O_NONBLOCK, resolve=RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
        )
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:
            return False
        raise
    try:
        target = os.open(volume, _OPEN_DIR)
        try:
            if os.listdir(target):
                return False
            _copy_tree(source, target)
            return True
        finally:
            os.close(target)
    finally:
        os.close(source)


def _copy_tree(source: int, target: int) -> None:
    links: dict[tuple[int, int], str] = {}
    stack: list[tuple[int, int, list[str], str]] = [(os.dup(source), os.dup(target), os.listdir(source), "")]
    try:
        while stack:
            from_fd, to_fd, entries, where = stack[-1]
            if not entries:
                _copy_attributes(from_fd, to_fd, os.fstat(from_fd))
                stack.pop()
                os.close(from_fd)
                os.close(to_fd)
                continue
            name = entries.pop()
            status = os.stat(name, dir_fd=from_fd, follow_symlinks=False)
            if not stat.S_ISDIR(status.st_mode):
                _copy_leaf(name, status, (from_fd, to_fd, target), f"{where}{name}", links)
                continue
            if len(stack) >= _MAX_DEPTH:
                raise InvalidArgument(
                    f"the image's content at the volume's mount point is deeper than {_MAX_DEPTH} levels"
                )
            os.mkdir(name, 0o700, dir_fd=to_fd)
            inner_from = os.open(name, _OPEN_DIR, dir_fd=from_fd)
            try:
                inner_to = os.open(name, _OPEN_DIR, dir_fd=to_fd)
            except OSError:
                os.close(inner_from)
                raise
            stack.append((inner_from, inner_to, os.listdir(inner_from), f"{where}{name}/"))
    finally:
        for from_fd, to_fd, _entries, _where in stack:
            os.close(from_fd)
            os.close(to_fd)


def _copy_leaf(
    name: str, status: os.stat_result, fds: tuple[int, int, int], where: str, links: dict[tuple[int, int], str]
) -> None:
    from_fd, to_fd, top = fds
    mode = status.st_mode
    key = (status.st_dev, status.st_ino)
    if status.st_nlink > 1 and key in links:
        # `where` was made by this walk below `top`, which only this process writes to until it is mounted.
        os.link(links[key], name, src_dir_fd=top, dst_dir_fd=to_fd, follow_symlinks=False)
        return
    if stat.S_ISREG(mode):
        _copy_file(name, status, from_fd, to_fd)
    elif stat.S_ISLNK(mode):
        os.symlink(os.readlink(name, dir_fd=from_fd), name, dir_fd=to_fd)
    elif stat.S_ISCHR(mode) or stat.S_ISBLK(mode) or stat.S_ISFIFO(mode):
        os.mknod(name, mode, status.st_rdev, dir_fd=to_fd)
    else:
        return
    if not stat.S_ISREG(mode):
        os.chown(name, status.st_uid, status.st_gid, dir_fd=to_fd, follow_symlinks=False)
        if not stat.S_ISLNK(mode):
            os.chmod(name, stat.S_IMODE(mode), dir_fd=to_fd)
        os.utime(name, ns=(status.st_atime_ns, status.st_mtime_ns), dir_fd=to_fd, follow_symlinks=False)
    if status.st_nlink > 1:
        links[key] = where


def _copy_file(name: str, status: os.stat_result, from_fd: int, to_fd: int) -> None:
    source = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=from_fd)
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        target = os.open(name, flags, 0o600, dir_fd=to_fd)
        try:
            _copy_data(source, target, status.st_size)
            _copy_attributes(source, target, status)
        finally:
            os.close(target)
    finally:
        os.close(source)


def _copy_data(source: int, target: int, size: int) -> None:
    """The bytes, holes kept: SEEK_DATA and SEEK_HOLE of lseek(2), copy_file_range(2) or sendfile(2) between them."""
    position = 0
    while position < size:
        try:
            start = os.lseek(source, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                break
            raise
        end = os.lseek(source, start, os.SEEK_HOLE)
        os.lseek(target, start, os.SEEK_SET)
        offset = start
        while offset < end:
            count = os.sendfile(target, source, offset, min(_CHUNK, end - offset))
            if count == 0:
                break
            offset += count
        position = end
    os.ftruncate(target, size)


def _copy_attributes(source: int, target: int, status: os.stat_result) -> None:
    os.fchown(target, status.st_uid, status.st_gid)
    os.fchmod(target, stat.S_IMODE(status.st_mode))
    with contextlib.suppress(OSError):  # a file system without extended attributes
        for name in os.listxattr(source):
            if not name.startswith(_FORBIDDEN_XATTRS):
                with contextlib.suppress(OSError):
                    os.setxattr(target, name, os.getxattr(source, name))
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
