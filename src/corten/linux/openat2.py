"""openat2(2): open a path that somebody else controls, with the kernel as referee. Any process.

The one way in which Corten resolves a path inside a container's root: RESOLVE_IN_ROOT makes `..` and absolute links
end at the directory descriptor, and a race against renames makes the call fail with EAGAIN rather than escape.
"""

from __future__ import annotations

import ctypes
import errno
import os

from corten.linux.syscalls import Path, check, encoded, raw

RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

# The kernel gives EAGAIN when a rename or mount anywhere raced with `..`; runc retries as often.
_TRIES = 128


class _OpenHow(ctypes.Structure):
    _fields_ = [("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64)]


_openat2 = raw("openat2", ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t)


def openat2(dir_fd: int, path: Path, flags: int, *, mode: int = 0, resolve: int = 0) -> int:
    """A close-on-exec descriptor of `path` below `dir_fd`. Raises SyscallError (EXDEV, ELOOP: the path leads out)."""
    how = _OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    name, address = encoded(path), ctypes.addressof(how)
    for _ in range(_TRIES):
        fd = _openat2(dir_fd, name, address, 24)
        if fd >= 0:
            return fd
        if ctypes.get_errno() not in {errno.EAGAIN, errno.EINTR}:
            break
    return check(fd, "openat2", path)
