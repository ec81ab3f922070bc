"""One attached container or exec: copies between this process's streams and a hijacked connection until it ends.

A single poll loop, no threads. Neither direction waits for the other: input is read only when what was read before
has been sent, and output is taken whenever it comes, so that `cat big | corten run -i busybox cat` cannot lock up.
"""

from __future__ import annotations

import _socket
import posix
import select

from corten.cli.errors import CliError, ExitStatus
from corten.client.connection import Connection
from corten.client.errors import ConnectionBroken
from corten.client.frames import STDOUT, FrameReader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from corten.cli.detach_keys import DetachFilter
    from corten.cli.signals import SignalQueue

_CHUNK = 64 << 10
_READABLE = select.POLLIN | select.POLLHUP | select.POLLERR


class Detached(Exception):
    """The user typed the detach keys."""


class StreamSession:
    """The copying. `stdin` is a descriptor or -1; `detach` watches it; `on_signal` is called for each signal."""

    def __init__(
        self,
        conn: Connection,
        *,
        multiplexed: bool,
        stdin: int = -1,
        detach: DetachFilter | None = None,
        signals: SignalQueue | None = None,
        on_signal: Callable[[int], None] | None = None,
        show: tuple[bool, bool] = (True, True),
    ) -> None:
        self._conn = conn
        self._frames = FrameReader() if multiplexed else None
        self._stdin = stdin
        self._detach = detach
        self._signals = signals
        self._on_signal = on_signal
        self._show = show
        self._unsent = b""
        self._input_open = stdin >= 0

    def run(self) -> None:  # noqa: C901 - the poll loop
        """Until the engine ends the stream. Raises Detached, ConnectionBroken."""
        self._output(self._conn.pending())
        sock = self._conn.sock
        sock.setblocking(False)
        if self._stdin < 0 and self._signals is None:
            sock.setblocking(True)
            while self._receive():
                pass
            return
        fd = sock.fileno()
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        if self._signals is not None:
            poll.register(self._signals.fd, select.POLLIN)
        if self._input_open:
            poll.register(self._stdin, select.POLLIN)
        while True:
            for ready, events in poll.poll():
                if ready == fd:
                    if events & select.POLLOUT:
                        self._send(poll)
                    if events & _READABLE and not self._receive():
                        return
                elif ready == self._stdin:
                    self._read_input(poll)
                elif self._signals is not None:
                    for number in self._signals.take():
                        if self._on_signal is not None:
                            self._on_signal(number)

    def _receive(self) -> bool:
        """Take output; False at its end."""
        while True:
            try:
                data = self._conn.sock.recv(_CHUNK)
            except OSError as error:
                if _would_block(error):
                    return True
                if isinstance(error, ConnectionResetError):
                    return False
                raise ConnectionBroken(f"the connection to the engine broke: {error}") from error
            if not data:
                if self._frames is not None and self._frames.incomplete:
                    raise ConnectionBroken("the engine closed the connection in the middle of a frame")
                return False
            self._output(data)
            if len(data) < _CHUNK and not hasattr(self._conn.sock, "context"):
                return True

    def _output(self, data: bytes) -> None:
        if self._frames is None:
            if data and self._show[0]:
                write_all(1, data)
            return
        for stream, payload in self._frames.feed(data):
            if stream == STDOUT or stream == 0:
                if self._show[0]:
                    write_all(1, payload)
            elif self._show[1]:
                write_all(2, payload)

    def _read_input(self, poll: select.poll) -> None:
        try:
            data = posix.read(self._stdin, _CHUNK)
        except BlockingIOError:
            return
        except OSError:  # the terminal is gone
            data = b""
        if not data:
            self._input_open = False
            poll.unregister(self._stdin)
            self._finish_input()
            return
        ended = False
        if self._detach is not None:
            data, ended = self._detach.feed(data)
        self._unsent += data
        self._send(poll)
        if ended:
            raise Detached

    def _send(self, poll: select.poll) -> None:
        """Send what is left; while some stays, input is not read."""
        sock = self._conn.sock
        while self._unsent:
            try:
                sent = (
                    sock.send(self._unsent)
                    if hasattr(sock, "context")
                    else sock.send(self._unsent, _socket.MSG_NOSIGNAL)
                )
            except OSError as error:
                if not _would_block(error):
                    self._unsent = b""  # the process closed its stdin; its output may still come
                break
            self._unsent = self._unsent[sent:]
        poll.modify(sock.fileno(), select.POLLIN | select.POLLOUT if self._unsent else select.POLLIN)
        if self._input_open:
            poll.register(self._stdin, 0 if self._unsent else select.POLLIN)
        elif not self._unsent:
            self._finish_input()

    def _finish_input(self) -> None:
        if not self._unsent:
            try:
                self._conn.sock.shutdown(_socket.SHUT_WR)
            except OSError:
                pass


def _would_block(error: OSError) -> bool:
    return isinstance(error, BlockingIOError) or type(error).__name__.startswith("SSLWant")


def write_all(fd: int, data: bytes) -> None:
    """Write to stdout or stderr whatever their mode; ends the program quietly when nobody reads."""
    view = memoryview(data)
    while view:
        try:
            view = view[posix.write(fd, view) :]
        except BlockingIOError:
            poll = select.poll()
            poll.register(fd, select.POLLOUT)
            poll.poll()
        except BrokenPipeError:
            raise ExitStatus(141) from None
        except OSError as error:
            where = "/dev/stdout" if fd == 1 else "/dev/stderr" if fd == 2 else "the output"
            raise CliError(f"write {where}: {(error.strerror or '').lower()}") from None
