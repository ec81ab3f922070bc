"""A hijacked TLS connection: its plain bytes go through a socketpair, whose other end the shim gets. Daemon only.

The shim cannot speak TLS; the relay ends with the daemon. Back-pressure holds in both directions; a half-close of
either side is passed on.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from corten.api.connection import HttpConnection

_CHUNK = 64 * 1024


class _Tap(asyncio.Protocol):
    """The client's side: what it sends is queued for the pump, and its transport paused while that is behind."""

    def __init__(self, transport: asyncio.Transport, ours: socket.socket) -> None:
        self._transport = transport
        self._ours = ours
        self._incoming: asyncio.Queue[bytes] = asyncio.Queue()
        self._writable = asyncio.Event()
        self._writable.set()
        self._tasks = [asyncio.ensure_future(self._to_taker()), asyncio.ensure_future(self._to_client())]

    def data_received(self, data: bytes) -> None:
        self._incoming.put_nowait(data)
        self._transport.pause_reading()

    def eof_received(self) -> bool:
        self._incoming.put_nowait(b"")
        return True

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._incoming.put_nowait(b"")
        self._writable.set()
        self._tasks[1].cancel()

    async def _to_taker(self) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while data := await self._incoming.get():
                await loop.sock_sendall(self._ours, data)
                if self._incoming.empty() and not self._transport.is_closing():
                    self._transport.resume_reading()
        with contextlib.suppress(OSError):
            self._ours.shutdown(socket.SHUT_WR)

    async def _to_client(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            with contextlib.suppress(OSError):
                while data := await loop.sock_recv(self._ours, _CHUNK):
                    self._transport.write(data)
                    await self._writable.wait()
        finally:
            self._transport.close()
            self._tasks[0].cancel()
            await asyncio.gather(self._tasks[0], return_exceptions=True)
            self._ours.close()


def relay_through_socketpair(connection: HttpConnection, transport: asyncio.Transport) -> int:
    """Put a relay between the client's transport and a new socketpair; returns the end for the taker."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    ours.setblocking(False)
    connection.set_relay(_Tap(transport, ours))
    return theirs.detach()
