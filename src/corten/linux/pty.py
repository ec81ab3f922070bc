"""Pseudo-terminals by descriptor: pts(4), ioctl_tty(2). Runs in init and in processes that join a container.

The slave is opened with TIOCGPTPEER from the master, never by the path /dev/pts/N, which a container could replace
(CVE-2025-52565); the master is accepted only when it is the ptmx node of a devpts file system (CVE-2025-31133).
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import stat
import struct
import termios

from corten.linux.errors import fail
from corten.linux.openat2 import RESOLVE_NO_SYMLINKS, RESOLVE_NO_XDEV, openat2
from corten.linux.syscalls import check, libc

TIOCGPTPEER = 0x5441
TIOCSPTLCK = 0x40045431
DEVPTS_SUPER_MAGIC = 0x1CD1
_PTMX = os.makedev(5, 2)

_fstatfs = libc("fstatfs", ctypes.c_int, ctypes.c_void_p)


def filesystem_magic(fd: int) -> int:
    """f_type of the file system that `fd` is on. fstatfs(2)."""
    buffer = ctypes.create_string_buffer(256)
    check(_fstatfs(fd, ctypes.addressof(buffer)), "fstatfs")
    return int(ctypes.c_long.from_buffer(buffer).value) & 0xFFFFFFFF


def open_pty(devpts_fd: int) -> tuple[int, int]:
    """A new terminal of the devpts whose root directory is `devpts_fd`: (master, slave)."""
    if filesystem_magic(devpts_fd) != DEVPTS_SUPER_MAGIC:
        fail(errno.ENODEV, "open", "/dev/pts", "not a devpts file system")
    # Only the kernel makes nodes there, so that nothing else can be opened by this name.
    master = openat2(devpts_fd, "ptmx", os.O_RDWR | os.O_NOCTTY, resolve=RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV)
    try:
        status = os.fstat(master)
        if not stat.S_ISCHR(status.st_mode) or status.st_rdev != _PTMX:
            fail(errno.ENODEV, "open", "ptmx", "not the ptmx device of a devpts file system")
        fcntl.ioctl(master, TIOCSPTLCK, struct.pack("i", 0))
        slave = fcntl.ioctl(master, TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except BaseException:
        os.close(master)
        raise
    return master, slave


def set_window_size(fd: int, *, width: int, height: int) -> None:
    """Set the size of a terminal. TIOCSWINSZ."""
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", height & 0xFFFF, width & 0xFFFF, 0, 0))


def make_controlling(fd: int) -> None:
    """Make `fd` the controlling terminal of this session leader. TIOCSCTTY."""
    fcntl.ioctl(fd, termios.TIOCSCTTY, 0)
