"""TLS on TCP listeners: each connection is decrypted into a socketpair, whose other end is served like a unix socket.

Daemon only, on the loop. asyncio's own TLS knows no half-close, which every attach without standard input begins with;
and the shim, which gets a connection's descriptor at a hijack, speaks no TLS. Here `close_notify` ends one direction
(RFC 8446 section 6.1), and the relay goes on for as long as both sides and the daemon live. One piece is under way in
each direction: that is the back-pressure.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable

_LOG = logging.getLogger("corten.api")
_CHUNK = 64 * 1024
_HANDSHAKE_S = 10.0
_LINGER_S = 5.0
_MAX_CONNECTIONS = 1024

Serve = Callable[[socket.socket], Awaitable[object]]


class TlsListener:
    """Accepts on `sock` and serves the plain ends by `serve`."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, serve: Serve) -> None:
        sock.setblocking(False)
        sock.listen(512)
        self._sock = sock
        self._context = context
        self._serve = serve
        self._relays: set[asyncio.Task[None]] = set()
        self._free = asyncio.Semaphore(_MAX_CONNECTIONS)
        self._accepting = asyncio.ensure_future(self._accept())

    def close(self) -> None:
        """Stop listening and cut the relays."""
        self._accepting.cancel()
        for relay in self._relays:
            relay.cancel()
        self._sock.close()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._free.acquire()
            try:
                client, _address = await loop.sock_accept(self._sock)
            except OSError as error:  # out of descriptors: the connection waits in the backlog
                self._free.release()
                _LOG.warning("accept failed: %s", error)
                await asyncio.sleep(0.1)
                continue
            relay = asyncio.ensure_future(self._relay(client))
            self._relays.add(relay)
            relay.add_done_callback(self._relays.discard)

    async def _relay(self, client: socket.socket) -> None:
        try:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            tls = _Tls(client, self._context)
            async with asyncio.timeout(_HANDSHAKE_S):
                await tls.handshake()
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
            ours.setblocking(False)
            theirs.setblocking(False)
            with ours:
                await self._serve(theirs)
                await tls.relay(ours)
        except (OSError, TimeoutError) as error:  # SSLError is an OSError: a client without certificate, a scanner
            _LOG.debug("TLS connection ended: %s", error)
        finally:
            client.close()
            self._free.release()


class _Tls:
    """One client's TLS over a socket, by memory BIOs."""

    def __init__(self, client: socket.socket, context: ssl.SSLContext) -> None:
        client.setblocking(False)
        self._client = client
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._sending = asyncio.Lock()

    async def handshake(self) -> None:
        """Raises ssl.SSLError, OSError."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._receive()
            except ssl.SSLError:
                with contextlib.suppress(OSError):
                    await self._flush()  # the alert that says why
                raise
            else:
                await self._flush()
                return

    async def _flush(self) -> None:
        async with self._sending:
            while data := self._outgoing.read():
                await asyncio.get_running_loop().sock_sendall(self._client, data)

    async def _receive(self) -> None:
        data = await asyncio.get_running_loop().sock_recv(self._client, _CHUNK)
        if not data:
            raise ConnectionResetError("the client closed the connection")
        self._incoming.write(data)

    async def relay(self, plain: socket.socket) -> None:
        """Until the server's side is done, or the client is gone altogether."""
        up = asyncio.ensure_future(self._to_server(plain))
        down = asyncio.ensure_future(self._to_client(plain))
        try:
            await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
            if down.done():  # what the client still sends must not destroy the answer on its way
                await asyncio.wait({up}, timeout=_LINGER_S)
        finally:
            for task in (up, down):
                task.cancel()
            await asyncio.gather(up, down, return_exceptions=True)

    async def _to_server(self, plain: socket.socket) -> None:
        """Returns when the client is gone; its close_notify alone only ends this direction."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                data = self._tls.read(_CHUNK)
            except ssl.SSLWantReadError:
                await self._flush()
                await self._receive()
                continue
            except ssl.SSLZeroReturnError:
                data = b""
            if not data:
                break
            await loop.sock_sendall(plain, data)
        plain.shutdown(socket.SHUT_WR)
        while await loop.sock_recv(self._client, _CHUNK):
            pass

    async def _to_client(self, plain: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while data := await loop.sock_recv(plain, _CHUNK):
            self._tls.write(data)
            await self._flush()
        with contextlib.suppress(ssl.SSLError):
            self._tls.unwrap()  # our close_notify; the client's is not waited for
        await self._flush()
