"""One TCP connection to the embedded DNS server: RFC 7766. Daemon only, on the loop, without a task of its own.

Queries of a connection are answered in order, those that are forwarded too: meanwhile nothing more is read from it. Of
many that come at once a few are answered in each turn of the loop.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

_READ_BYTES = 16384
_QUERIES_A_TURN = 4

Answer = Callable[[bytes], "bytes | asyncio.Future[bytes] | None"]


class DnsStream:
    """Serves until the client closes, says nothing that can be answered, or does not read. `sock` is owned."""

    def __init__(self, sock: socket.socket, answer: Answer, on_closed: Callable[[DnsStream], None]) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._answer = answer
        self._on_closed = on_closed
        self._received = bytearray()
        self._loop = asyncio.get_running_loop()
        self.last_used_s = self._loop.time()

    def open(self) -> None:
        """Begin; what came with the connection is answered at once."""
        self._loop.add_reader(self._sock.fileno(), self._readable)
        self._readable()

    def close(self) -> None:
        """End; idempotent."""
        if self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock.fileno())
            self._sock.close()
            self._on_closed(self)

    def _readable(self) -> None:
        try:
            data = self._sock.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        self.last_used_s = self._loop.time()
        self._received += data
        self._advance()

    def _advance(self) -> None:
        """Answer the queries that are complete, a turn's share of them."""
        received = self._received
        for _ in range(_QUERIES_A_TURN):
            if len(received) < 2 or len(received) < (end := 2 + int.from_bytes(received[:2], "big")):
                return
            query = bytes(received[2:end])
            del received[:end]
            found = self._answer(query)
            if isinstance(found, asyncio.Future):
                self._loop.remove_reader(self._sock.fileno())
                found.add_done_callback(self._forwarded)
                return
            if found is None or not self._send(found):
                self.close()
                return
        self._loop.remove_reader(self._sock.fileno())
        self._loop.call_soon(self._resume)

    def _resume(self) -> None:
        """Go on with what was received, and read again."""
        if self._sock.fileno() >= 0:
            self._loop.add_reader(self._sock.fileno(), self._readable)
            self._advance()

    def _send(self, reply: bytes) -> bool:
        """Whether all of it could be sent: a client that asks and does not read is not waited for."""
        data = len(reply).to_bytes(2, "big") + reply
        try:
            return self._sock.send(data) == len(data)
        except OSError:
            return False

    def _forwarded(self, done: asyncio.Future[bytes]) -> None:
        if self._sock.fileno() < 0:
            return
        if done.cancelled() or done.exception() is not None or not self._send(done.result()):
            self.close()
            return
        self.last_used_s = self._loop.time()
        self._resume()
