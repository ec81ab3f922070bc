"""fallocate(2): claim space for a file ahead of its bytes. Any process."""

from __future__ import annotations

import ctypes

from corten.linux.syscalls import check, libc

_KEEP_SIZE = 1
_fallocate = libc("fallocate64", ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


def reserve(fd: int, size: int) -> None:
    """Have disk blocks for the first `size` bytes of a file, whose size stays. Raises SyscallError (ENOSPC)."""
    check(_fallocate(fd, _KEEP_SIZE, 0, size), "fallocate")
