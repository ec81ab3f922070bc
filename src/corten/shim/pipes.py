"""The pipes between a process and the shim, and the terminal's size. Runs in the shim."""

from __future__ import annotations

import contextlib
import os

from corten.linux import pty


class Pipes:
    """Both ends of a process's streams. `child` goes to the process; `stdin`, `stdout`, `stderr` stay here."""

    __slots__ = ("child", "stderr", "stdin", "stdout")

    def __init__(self, *, child: tuple[int, int, int], stdin: int, stdout: int, stderr: int) -> None:
        self.child = child
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr

    def close_child(self) -> None:
        """The process has its ends: without ours, its end of file is seen."""
        for fd in self.child:
            os.close(fd)

    def close(self) -> None:
        """Close everything: the process was never started."""
        self.close_child()
        for fd in (self.stdin, self.stdout, self.stderr):
            if fd >= 0:
                os.close(fd)


def open_pipes(*, stdin: bool) -> Pipes:
    """Three streams; without `stdin` the process reads /dev/null. Raises OSError and leaves nothing open."""
    opened: list[int] = []
    try:
        if stdin:
            read_end, write_end = os.pipe2(os.O_CLOEXEC)
            opened += [read_end, write_end]
        else:
            read_end, write_end = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC), -1
            opened.append(read_end)
        out_read, out_write = os.pipe2(os.O_CLOEXEC)
        opened += [out_read, out_write]
        err_read, err_write = os.pipe2(os.O_CLOEXEC)
    except OSError:
        for fd in opened:
            os.close(fd)
        raise
    return Pipes(child=(read_end, out_write, err_write), stdin=write_end, stdout=out_read, stderr=err_read)


def set_window_size(console: int, width: int, height: int) -> None:
    """Tell the terminal its size; zero sizes, which clients send, are left out."""
    if width > 0 and height > 0:
        with contextlib.suppress(OSError):
            pty.set_window_size(console, width=width & 0xFFFF, height=height & 0xFFFF)
