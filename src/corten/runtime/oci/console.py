"""Terminals of the command line: hand a master over a console socket, or run it on our own terminal.

The protocol of --console-socket is runc's: connect to a unix socket and send the master with SCM_RIGHTS, its name as
the data (docs/terminals.md there).
"""

from __future__ import annotations

import array
import fcntl
import os
import select
import signal
import socket
import struct
import sys
import termios
import tty
from types import FrameType

from corten.linux.pty import set_window_size
from corten.runtime.oci.state import OciError

_CHUNK = 1 << 15


def send_master(path: str, master: int) -> None:
    """Send `master` to whoever listens on the console socket. Raises OciError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(30)
        try:
            sock.connect(path)
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [master]))]
            sock.sendmsg([b"/dev/ptmx"], ancillary)
        except OSError as error:
            raise OciError(f"failed to send the console to {path}: {error}") from error


def copy_size(source: int, master: int) -> None:
    """Give the terminal `master` the size of our own."""
    try:
        height, width, _, _ = struct.unpack("HHHH", fcntl.ioctl(source, termios.TIOCGWINSZ, b"\0" * 8))
        set_window_size(master, width=width, height=height)
    except OSError:
        return


class OwnTerminal:
    """Our stdin and stdout as the container's terminal, raw while the block runs."""

    def __init__(self, master: int) -> None:
        self._master = master
        self._saved: list[object] | None = None

    def __enter__(self) -> OwnTerminal:
        if os.isatty(0):
            self._saved = termios.tcgetattr(0)
            tty.setraw(0)
            copy_size(0, self._master)
            signal.signal(signal.SIGWINCH, self._resized)
        return self

    def __exit__(self, *_: object) -> None:
        if self._saved is not None:
            signal.signal(signal.SIGWINCH, signal.SIG_DFL)
            termios.tcsetattr(0, termios.TCSADRAIN, self._saved)  # type: ignore[arg-type]

    def _resized(self, _number: int, _frame: FrameType | None) -> None:
        copy_size(0, self._master)

    def relay(self, pidfd: int) -> None:
        """Copy both ways until the process ends and its last output is out."""
        poll = select.poll()
        poll.register(self._master, select.POLLIN)
        poll.register(pidfd, select.POLLIN)
        poll.register(0, select.POLLIN)
        ended = False
        while True:
            events = dict(poll.poll(0 if ended else None))
            if self._master in events:
                try:
                    data = os.read(self._master, _CHUNK)
                except OSError:  # EIO: the last slave is closed
                    data = b""
                if not data:
                    return
                sys.stdout.buffer.write(data)
                sys.stdout.buffer.flush()
            elif ended:
                return
            if pidfd in events:
                ended = True
                poll.unregister(pidfd)
            if 0 in events:
                data = os.read(0, _CHUNK)
                if data:
                    os.write(self._master, data)
                else:
                    poll.unregister(0)
