"""The standard streams of one process: from the process to the log and to attached clients, from clients to stdin.

Runs in the shim. Clients are sockets whose HTTP head the daemon has already sent: the shim talks to them itself, in
Docker's framing (8-byte head: stream number, three zero bytes, big-endian length) or raw for a terminal, so an attached
client survives the daemon. A client that does not read stops the reading of the process's output once a megabyte
waits for it (as Docker blocks), never signals, exit or the other direction.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Callable

from corten.shim.logs import JsonFileLog
from corten.shim.reactor import GONE, IN, OUT, Reactor

_READ = 1 << 16
_HIGH_WATER = 1 << 20
_STREAM = {"stdin": 0, "stdout": 1, "stderr": 2}
_FRAME = struct.Struct(">BxxxI")


def parse_detach_keys(text: str) -> bytes:
    """`ctrl-p,ctrl-q` as bytes; empty for an empty or unusable sequence (the daemon has validated it)."""
    out = bytearray()
    for key in text.split(",") if text else []:
        if len(key) == 1:
            out += key.encode()
        elif key.startswith("ctrl-") and len(key) == 6 and key[5] in "abcdefghijklmnopqrstuvwxyz@[\\]^_":
            out.append(ord(key[5]) & 0x1F)
        else:
            return b""
    return bytes(out)


class DetachMatcher:
    """Finds the detach sequence in typed input; a partial match that breaks off is handed on."""

    def __init__(self, sequence: bytes) -> None:
        self._sequence = sequence
        self._matched = 0

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """What goes on to the process, and whether the sequence is complete (the rest is dropped)."""
        if not self._sequence:
            return data, False
        out = bytearray()
        for byte in data:
            if byte != self._sequence[self._matched]:
                out += self._sequence[: self._matched]
                self._matched = 0
            if byte == self._sequence[self._matched]:
                self._matched += 1
                if self._matched == len(self._sequence):
                    self._matched = 0
                    return bytes(out), True
            else:
                out.append(byte)
        return bytes(out), False


class Client:
    """One attached connection; owns its descriptor."""

    def __init__(
        self,
        fd: int,
        *,
        stdin: bool,
        stdout: bool,
        stderr: bool,
        stream: bool = True,
        logs: bool = False,
        preface: bytes = b"",
        detach_keys: str = "",
    ) -> None:
        self.socket = socket.socket(fileno=fd)
        self.socket.setblocking(False)
        self.wants = {name for name, on in (("stdout", stdout), ("stderr", stderr)) if on}
        self.stdin = stdin and stream
        self.stream = stream
        self.logs = logs
        self.preface = preface
        self.detach = DetachMatcher(parse_detach_keys(detach_keys))
        self.buffer = bytearray()
        self.closing = False


class Streams:
    """The streams of one process (init or an exec) and all who are attached to it."""

    def __init__(
        self,
        reactor: Reactor,
        *,
        tty: bool,
        log: JsonFileLog | None,
        close_stdin: bool,
        on_detach: Callable[[], None],
        on_drained: Callable[[], None],
    ) -> None:
        self._reactor = reactor
        self._tty = tty
        self._log = log
        self._close_stdin = close_stdin
        self._on_detach = on_detach
        self._on_drained = on_drained
        self._sources: dict[int, str] = {}
        self._paused = False
        self._stdin_fd = -1
        self._stdin_buffer = bytearray()
        self._stdin_eof = False
        self.clients: list[Client] = []

    # -- the process's side

    def connect(self, *, stdin_fd: int, sources: dict[int, str]) -> None:
        """Take over the ends of the pipes, or the console's master (twice: one for each direction)."""
        self._stdin_fd = stdin_fd
        if stdin_fd >= 0:
            os.set_blocking(stdin_fd, False)
        for fd, name in sources.items():
            os.set_blocking(fd, False)
            self._sources[fd] = name
            self._watch_source(fd)
        for client in self.clients:
            self._begin(client)
        self._write_stdin()

    def _watch_source(self, fd: int) -> None:
        name = self._sources[fd]

        def readable(_events: int) -> None:
            self._read_source(fd, name)

        self._reactor.watch(fd, IN, readable)

    def _read_source(self, fd: int, name: str) -> bool:
        try:
            data = os.read(fd, _READ)
        except BlockingIOError:
            return False
        except OSError:  # EIO: the last descriptor of the terminal's other side is closed
            data = b""
        if not data:
            self._end_source(fd)
            return False
        if self._log is not None:
            self._log.write(name, data)
        for client in list(self.clients):
            if name in client.wants and client.stream:
                self._queue(client, name, data)
        return True

    def _end_source(self, fd: int) -> None:
        self._reactor.forget(fd)
        os.close(fd)
        self._sources.pop(fd, None)
        if not self._sources:
            self._on_drained()

    @property
    def drained(self) -> bool:
        """Whether all output of the process has been read to its end."""
        return not self._sources

    def drain(self) -> None:
        """The process has ended: read what is there now, also when a slow client had stopped the reading."""
        for fd, name in list(self._sources.items()):
            while fd in self._sources and self._read_source(fd, name):
                pass

    def abandon(self) -> None:
        """Close what a process that outlives this one still holds open."""
        for fd in list(self._sources):
            self._end_source(fd)

    # -- the clients' side

    def attach(self, client: Client) -> None:
        """Add a client; before `connect` it waits for the process."""
        self.clients.append(client)
        if self._sources:
            self._begin(client)

    def replay(self, client: Client, records: list[tuple[str, bytes]]) -> None:
        """Send the log so far, then end (when the client asked for the log alone) or go on live."""
        for name, data in records:
            if name in client.wants:
                self._queue(client, name, data)
        if not client.stream:
            self._finish(client)

    def _begin(self, client: Client) -> None:
        self._watch(client)
        if client.stdin and client.preface:
            data, client.preface = client.preface, b""
            self._typed(client, data)

    def _watch(self, client: Client) -> None:
        mask = (IN if client.stdin and len(self._stdin_buffer) < _HIGH_WATER else 0) | (OUT if client.buffer else 0)
        self._reactor.watch(client.socket.fileno(), mask, lambda events: self._ready(client, events))

    def _ready(self, client: Client, events: int) -> None:
        if events & IN and client.stdin:
            try:
                data = client.socket.recv(_READ)
            except BlockingIOError:
                data = None
            except OSError:
                self._drop(client)
                return
            if data:
                self._typed(client, data)
            elif data is not None:
                self._client_eof(client)
        if client not in self.clients:
            return
        if events & OUT:
            self._flush(client)
        elif events & GONE:
            self._drop(client)

    def _typed(self, client: Client, data: bytes) -> None:
        detached = False
        if self._tty:
            data, detached = client.detach.feed(data)
        if self._stdin_fd >= 0:
            self._stdin_buffer += data
            self._write_stdin()
        if detached:
            self._on_detach()
            self._finish(client)
        elif client in self.clients:
            self._watch(client)

    def _client_eof(self, client: Client) -> None:
        client.stdin = False  # half-close is how clients say "no more input": output goes on (docker_api: half-close)
        self._watch(client)
        if self._close_stdin and not self._tty:
            self._stdin_eof = True
            self._write_stdin()

    def _write_stdin(self) -> None:
        if self._stdin_fd < 0:
            return
        try:
            while self._stdin_buffer:
                del self._stdin_buffer[: os.write(self._stdin_fd, self._stdin_buffer)]
        except BlockingIOError:
            self._reactor.watch(self._stdin_fd, OUT, lambda _events: self._stdin_writable())
            return
        except OSError:  # EPIPE: the process closed its stdin
            self.close_stdin()
            return
        if self._stdin_eof:
            self.close_stdin()

    def _stdin_writable(self) -> None:
        self._reactor.forget(self._stdin_fd)
        self._write_stdin()
        for client in self.clients:
            if client.stdin:
                self._watch(client)

    def close_stdin(self) -> None:
        """Close the process's stdin; idempotent."""
        if self._stdin_fd >= 0:
            self._reactor.forget(self._stdin_fd)
            os.close(self._stdin_fd)
            self._stdin_fd = -1
        self._stdin_buffer.clear()

    def _queue(self, client: Client, name: str, data: bytes) -> None:
        if not self._tty:
            client.buffer += _FRAME.pack(_STREAM[name], len(data))
        client.buffer += data
        self._flush(client)
        if len(client.buffer) > _HIGH_WATER and not self._paused:
            self._paused = True
            for fd in self._sources:
                self._reactor.forget(fd)

    def _flush(self, client: Client) -> None:
        try:
            while client.buffer:
                del client.buffer[: client.socket.send(client.buffer, socket.MSG_NOSIGNAL)]
        except BlockingIOError:
            self._watch(client)
            return
        except OSError:
            self._drop(client)
            return
        if client.closing:
            self._drop(client)
        elif self._sources or not client.stream:
            self._watch(client)
        self._resume()

    def _resume(self) -> None:
        if self._paused and all(len(client.buffer) <= _HIGH_WATER for client in self.clients):
            self._paused = False
            for fd in list(self._sources):
                self._watch_source(fd)

    def _finish(self, client: Client) -> None:
        client.closing = True
        client.stdin = False
        self._flush(client)

    def _drop(self, client: Client) -> None:
        if client not in self.clients:
            return
        self.clients.remove(client)
        self._reactor.forget(client.socket.fileno())
        # Shut down, not only close: the daemon may hold a duplicate for a moment more. What the client typed too late
        # is read away, since unix(7) answers a close with unread data by ECONNRESET at the peer, behind its output.
        with contextlib.suppress(OSError):
            client.socket.shutdown(socket.SHUT_RDWR)
            while client.socket.recv(_READ):
                pass
        client.socket.close()
        self._resume()

    def finish(self) -> None:
        """The process has ended and its output is read: give each client the rest, then close it."""
        self.close_stdin()
        for client in list(self.clients):
            self._finish(client)

    def drop_all(self) -> None:
        """Close clients at once, whatever waits for them."""
        for client in list(self.clients):
            self._drop(client)
