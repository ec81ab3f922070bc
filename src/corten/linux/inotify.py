"""inotify(7): be told that a file changed. Any process; the descriptor is non-blocking and close-on-exec."""

from __future__ import annotations

import contextlib
import ctypes
import os

from corten.linux.syscalls import Path, check, encoded, libc

IN_MODIFY = 0x2
IN_ATTRIB = 0x4
IN_MOVED_FROM = 0x40
IN_MOVED_TO = 0x80
IN_CREATE = 0x100
IN_DELETE = 0x200
IN_DELETE_SELF = 0x400
IN_ONLYDIR = 0x01000000

_init1 = libc("inotify_init1", ctypes.c_int)
_add_watch = libc("inotify_add_watch", ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32)


class Inotify:
    """One inotify instance; its events are read away, not told apart: whoever is woken looks for itself."""

    def __init__(self) -> None:
        self.fd = check(_init1(os.O_NONBLOCK | os.O_CLOEXEC), "inotify_init1")

    def watch(self, path: Path, mask: int) -> None:
        """Add a watch. Raises SyscallError."""
        check(_add_watch(self.fd, encoded(path), mask), "inotify_add_watch", path)

    def clear(self) -> None:
        """Read away what is queued."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self.fd, 64 * 1024):
                pass

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.fd)
