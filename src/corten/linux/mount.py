"""Mounts: mount(2), umount2(2), pivot_root(2) and the descriptor-based calls (fsopen, fsmount, open_tree, move_mount,
mount_setattr). Any process that may mount.

Names and values are those of <linux/mount.h>. Descriptor-based calls are preferred wherever a container could have
touched a path: a mount is made detached, and attached to a descriptor that was resolved safely (see openat2).
"""

from __future__ import annotations

import ctypes
import os

from corten.linux.errors import SyscallError
from corten.linux.syscalls import Path, check, encoded, libc, raw

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_MOVE = 0x2000
MS_REC = 0x4000
MS_UNBINDABLE = 0x20000
MS_PRIVATE = 0x40000
MS_SLAVE = 0x80000
MS_SHARED = 0x100000

MNT_DETACH = 0x2
UMOUNT_NOFOLLOW = 0x8

AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW = 0x100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000

OPEN_TREE_CLONE = 0x1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC
FSOPEN_CLOEXEC = 0x1
FSMOUNT_CLOEXEC = 0x1
FSCONFIG_SET_FLAG = 0
FSCONFIG_SET_STRING = 1
FSCONFIG_SET_FD = 5
FSCONFIG_CMD_CREATE = 6
MOVE_MOUNT_F_EMPTY_PATH = 0x4
MOVE_MOUNT_T_EMPTY_PATH = 0x40

MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_NOEXEC = 0x8
MOUNT_ATTR__ATIME = 0x70
MOUNT_ATTR_RELATIME = 0x0
MOUNT_ATTR_NOATIME = 0x10
MOUNT_ATTR_STRICTATIME = 0x20
MOUNT_ATTR_NODIRATIME = 0x80
MOUNT_ATTR_IDMAP = 0x100000
MOUNT_ATTR_NOSYMFOLLOW = 0x200000

# fsconfig(2) takes string values of at most this many bytes, its end included.
FSCONFIG_VALUE_MAX = 256


class _MountAttr(ctypes.Structure):
    """struct mount_attr."""

    _fields_ = [(name, ctypes.c_uint64) for name in ("attr_set", "attr_clr", "propagation", "userns_fd")]


_mount = libc("mount", ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
_umount2 = libc("umount2", ctypes.c_char_p, ctypes.c_int)
_pivot_root = raw("pivot_root", ctypes.c_char_p, ctypes.c_char_p)
_fsopen = raw("fsopen", ctypes.c_char_p, ctypes.c_uint)
_fsconfig = raw("fsconfig", ctypes.c_int, ctypes.c_uint, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int)
_fsmount = raw("fsmount", ctypes.c_int, ctypes.c_uint, ctypes.c_uint)
_open_tree = raw("open_tree", ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
_move_mount = raw("move_mount", ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
_mount_setattr = raw("mount_setattr", ctypes.c_int, ctypes.c_char_p, ctypes.c_uint, ctypes.c_void_p, ctypes.c_size_t)


def mount(source: Path | None, target: Path, fstype: str | None, flags: int, data: str | None = None) -> None:
    """mount(2). Only for paths of the host; a container's go through move_mount."""
    check(
        _mount(
            encoded(source) if source is not None else None,
            encoded(target),
            fstype.encode() if fstype else None,
            flags,
            os.fsencode(data) if data else None,
        ),
        "mount",
        target,
    )


def umount2(target: Path, flags: int = 0) -> None:
    """umount2(2)."""
    check(_umount2(encoded(target), flags), "umount2", target)


def pivot_root(new_root: Path, put_old: Path) -> None:
    """pivot_root(2)."""
    check(_pivot_root(encoded(new_root), encoded(put_old)), "pivot_root", new_root)


def fsopen(fstype: str) -> int:
    """A descriptor on which a new file system of this type is configured. fsopen(2)."""
    return check(_fsopen(fstype.encode(), FSOPEN_CLOEXEC), "fsopen", fstype)


def fsconfig_string(fs_fd: int, key: str, value: Path) -> None:
    """Set option `key=value` (at most 255 bytes). fsconfig(2)."""
    check_fs(_fsconfig(fs_fd, FSCONFIG_SET_STRING, key.encode(), encoded(value), 0), fs_fd, key)


def fsconfig_flag(fs_fd: int, key: str) -> None:
    """Set option `key` that has no value. fsconfig(2)."""
    check_fs(_fsconfig(fs_fd, FSCONFIG_SET_FLAG, key.encode(), None, 0), fs_fd, key)


def fsconfig_create(fs_fd: int) -> None:
    """Make the configured file system. fsconfig(2), FSCONFIG_CMD_CREATE."""
    check_fs(_fsconfig(fs_fd, FSCONFIG_CMD_CREATE, None, None, 0), fs_fd, None)


def check_fs(result: int, fs_fd: int, key: str | None) -> None:
    """Raise SyscallError with the file system's own words, which the kernel keeps on the descriptor."""
    if result < 0:
        number = ctypes.get_errno()
        raise SyscallError(number, "fsconfig", key, hint=fs_log(fs_fd))


def fs_log(fs_fd: int) -> str:
    """What the kernel has to say about a failed fsconfig or fsmount ("" when nothing)."""
    lines = []
    for _ in range(16):
        try:
            lines.append(os.read(fs_fd, 512).decode("utf-8", "replace").partition(" ")[2].strip())
        except OSError:
            break
    return "; ".join(lines)


def fsmount(fs_fd: int, attributes: int = 0) -> int:
    """A detached mount of the file system with MOUNT_ATTR_* `attributes`. fsmount(2)."""
    result = _fsmount(fs_fd, FSMOUNT_CLOEXEC, attributes)
    if result < 0:
        number = ctypes.get_errno()
        raise SyscallError(number, "fsmount", hint=fs_log(fs_fd))
    return result


def new_filesystem(fstype: str, options: list[tuple[str, str | None]], attributes: int = 0) -> int:
    """A detached mount of a new file system: fsopen, its options (None: no value), create, fsmount."""
    fs_fd = fsopen(fstype)
    try:
        for key, value in options:
            if value is None:
                fsconfig_flag(fs_fd, key)
            else:
                fsconfig_string(fs_fd, key, value)
        fsconfig_create(fs_fd)
        return fsmount(fs_fd, attributes)
    finally:
        os.close(fs_fd)


def open_tree(dir_fd: int, path: Path, flags: int) -> int:
    """A descriptor of the mount at `path`; OPEN_TREE_CLONE makes it a detached copy. open_tree(2)."""
    return check(_open_tree(dir_fd, encoded(path), flags | OPEN_TREE_CLOEXEC), "open_tree", path)


def clone_tree(fd: int, *, recursive: bool = False) -> int:
    """A detached copy of the mount (or of the part of it) that `fd` names: a bind mount not yet attached."""
    flags = AT_EMPTY_PATH | OPEN_TREE_CLONE | (AT_RECURSIVE if recursive else 0)
    return open_tree(fd, b"", flags)


def move_mount(mount_fd: int, target_fd: int) -> None:
    """Attach a detached mount onto what `target_fd` names; no path is walked. move_mount(2)."""
    flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH
    check(_move_mount(mount_fd, b"", target_fd, b"", flags), "move_mount")


def mount_setattr(
    fd: int,
    *,
    attr_set: int = 0,
    attr_clr: int = 0,
    propagation: int = 0,
    userns_fd: int = 0,
    recursive: bool = False,
) -> None:
    """Change attributes of the mount that `fd` is the root of, or of its whole tree. mount_setattr(2)."""
    attr = _MountAttr(attr_set, attr_clr, propagation, userns_fd)
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    check(_mount_setattr(fd, b"", flags, ctypes.addressof(attr), 32), "mount_setattr")
