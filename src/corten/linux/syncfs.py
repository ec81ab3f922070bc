"""syncfs(2): make one file system durable. Any process."""

from __future__ import annotations

import ctypes

from corten.linux.syscalls import check, libc

_syncfs = libc("syncfs", ctypes.c_int)


def syncfs(fd: int) -> None:
    """Write everything of the file system that `fd` is on to disk. Raises SyscallError."""
    check(_syncfs(fd), "syncfs")
