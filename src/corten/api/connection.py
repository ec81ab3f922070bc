"""One client's connection: HTTP/1.1 as an asyncio.Protocol, one request at a time. Daemon only, on the loop.

Reading: the head is found in the buffer and parsed alone (head.py), then the body is framed (body.py) and queued for
the handler with back-pressure; bytes behind it wait for the next request, or are the preface of a hijack. Writing: a
full socket suspends the stream that writes. A client that goes away cancels the handler; one that only shuts down its
writing side (docker does when it has no standard input) does not. What a request means is server.py's business.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING

from corten.api.body import BodyQueue
from corten.api.errors import message_response
from corten.api.head import HEAD_END, MAX_HEAD, BadRequest, Head, parse_head
from corten.api.peer import peer_closed
from corten.api.pieces import write_stream
from corten.api.routing import Hijacked, Response
from corten.api.wire import render, render_hijack
from corten.errors import Cancelled, InvalidArgument

if TYPE_CHECKING:
    from corten.api.server import Server

MAX_BODY = 16 << 20
_BODY_QUEUE = 256 * 1024
_READ_AHEAD = 64 * 1024
_LINGER_S = 5.0
_HIJACK_FLUSH_S = 10.0


class HttpConnection(asyncio.Protocol):
    """The protocol object of one connection; also the `Connection` that handlers see."""

    def __init__(self, server: Server, *, trusted: bool) -> None:
        self._server = server
        self.trusted = trusted
        self.deadline = 0.0  # monotonic; 0: none. server.py sweeps.
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._scanned = 0
        self._head: Head | None = None
        self._body: BodyQueue | None = None
        self._wake_writer: asyncio.Future[None] | None = None
        self._reading = True
        self._write_paused = False
        self._keep_alive = True
        self._half_closed = False
        self._lingering = False
        self.gone = False  # the client has left
        self._taken = False
        self._task: asyncio.Task[None] | None = None
        self._on_gone: list[Callable[[], None]] = []

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=256 * 1024)
        self.deadline = time.monotonic() + self._server.limits.idle_s
        self._server.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The connection is closed, by either side, or it was handed over by a hijack."""
        self._server.connections.discard(self)
        if not self._taken:
            self._disconnect()

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        if self._lingering:
            return
        if self._head is None:
            self._buffer += data
            self._parse()
        elif self._body is not None and self._body.wants_more:
            self._feed_body(data)
        else:
            self._buffer += data
            self._throttle()

    def eof_received(self) -> bool:
        """The client closed its writing side, or all of it. True keeps the transport open for writing."""
        self._half_closed = True
        self._keep_alive = False
        if self._head is None or self._lingering:
            return False
        if self._body is not None and self._body.wants_more:
            self._body.fail(BadRequest("unexpected end of the request body"))
        if self._hung_up():
            self._disconnect()
            return False
        return True

    def pause_writing(self) -> None:
        """The socket is full."""
        self._write_paused = True

    def resume_writing(self) -> None:
        """There is room again."""
        self._write_paused = False
        self._wake(self._wake_writer)

    # -- reading

    def _parse(self) -> None:
        """Begin the next request when its head is complete."""
        while self._buffer.startswith(b"\r\n"):  # RFC 9112 section 2.2: empty lines before a request are ignored
            del self._buffer[:2]
        if not self._buffer:
            self.deadline = time.monotonic() + self._server.limits.idle_s
            return
        if self._scanned == 0:
            self.deadline = time.monotonic() + self._server.limits.head_s
        end = self._buffer.find(HEAD_END, max(0, self._scanned - 3), MAX_HEAD)
        if end < 0:
            self._scanned = len(self._buffer)
            if self._scanned >= MAX_HEAD:
                self._refuse(BadRequest("request header fields too large", 431))
            return
        end += len(HEAD_END)
        try:
            head = parse_head(bytes(memoryview(self._buffer)[:end]))
        except BadRequest as error:
            self._refuse(error)
            return
        del self._buffer[:end]
        self._begin(head)

    def _begin(self, head: Head) -> None:
        self._scanned = 0
        self.deadline = 0.0
        self._head = head
        self._keep_alive = head.keep_alive and not self._half_closed
        self._body = body = BodyQueue(head.length, expects_continue=head.expects_continue)
        if body.wants_more and self._buffer:
            data = bytes(self._buffer)
            self._buffer.clear()
            self._feed_body(data)
        self._task = asyncio.get_running_loop().create_task(self._serve(head))

    def _feed_body(self, data: bytes) -> None:
        assert self._body is not None
        self.deadline = 0.0
        self._buffer += self._body.feed(data)
        if self._body.error is not None:
            self._keep_alive = False
        self._throttle()

    def _throttle(self) -> None:
        queued = self._body.size if self._body is not None else 0
        full = queued > _BODY_QUEUE or len(self._buffer) > _READ_AHEAD
        if full == self._reading and self._transport is not None and not self._transport.is_closing():
            self._reading = not full
            if full:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    async def body(self) -> AsyncIterator[bytes]:
        """See routing.Connection."""
        body = self._body
        while body is not None:
            piece = body.pop()
            if piece is not None:
                self._throttle()
                yield piece
            elif body.error is not None:
                raise InvalidArgument(body.error.text)
            elif body.arrived:
                return
            else:
                await self._more_body(body)

    async def _more_body(self, body: BodyQueue) -> None:
        if self.gone:
            raise Cancelled("the client closed the connection")
        if body.continue_due:
            body.continue_due = False
            self._write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.deadline = time.monotonic() + self._server.limits.body_s
        await body.wait()
        self.deadline = 0.0

    async def read_body(self) -> bytes:
        """See routing.Connection."""
        if self._head is not None and (self._head.length or 0) > MAX_BODY:
            raise InvalidArgument("request body too large")
        pieces: list[bytes] = []
        total = 0
        async for piece in self.body():
            total += len(piece)
            if total > MAX_BODY:
                raise InvalidArgument("request body too large")
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    # -- writing

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self.gone:
            self._transport.write(data)

    async def _drain(self) -> None:
        while self._write_paused and not self.gone:
            self._wake_writer = asyncio.get_running_loop().create_future()
            await self._wake_writer
        if self.gone:
            raise Cancelled("the client closed the connection")

    async def _serve(self, head: Head) -> None:
        """Answer one request, then look for the next."""
        response = await self._server.respond(head, self)
        if not response.hijacked:
            await self._answer(head, response)
            self._finish()

    async def _answer(self, head: Head, response: Response) -> None:
        chunked = response.stream is not None and not head.http10
        if response.stream is not None and head.http10:
            self._keep_alive = False
        if self._body is not None and not self._body.arrived:
            self._keep_alive = False
        start = render(response, chunked=chunked, keep_alive=self._keep_alive, head_only=head.method == "HEAD")
        if response.stream is None or head.method == "HEAD":
            self._write(start)
        if response.stream is None:
            return
        try:
            if head.method != "HEAD":
                await write_stream(self._write, self._drain, start, response.stream, chunked=chunked)
        except Cancelled:
            self._keep_alive = False
        except Exception as error:
            # Headers are out: a missing last chunk is how a broken stream is told (RFC 9112 section 8).
            self._keep_alive = False
            self._server.stream_failed(head, error)
            self.abort()
        finally:
            close = getattr(response.stream, "aclose", None)
            if close is not None:
                with contextlib.suppress(Exception):
                    await close()

    def _finish(self) -> None:
        """The response is written: the next request, or the end of the connection."""
        unread = self._body is not None and not self._body.arrived
        self._head = self._body = None
        self._on_gone.clear()
        if self._transport is None or self._transport.is_closing():
            return
        if self._keep_alive and not self._server.closing:
            self._throttle()
            self._parse()
        elif unread and not self._half_closed:
            self._linger()
        else:
            self._transport.close()

    def _refuse(self, error: BadRequest) -> None:
        """Answer what is no HTTP, and close."""
        response = message_response(error.status, error.text)
        self._write(render(response, chunked=False, keep_alive=False, head_only=False))
        self._linger()

    def _linger(self) -> None:
        """Read and drop what the client still sends, for a moment: a close now could destroy the answer on its way."""
        assert self._transport is not None
        self._lingering = True
        self._buffer.clear()
        self.deadline = time.monotonic() + _LINGER_S
        if not self._reading:
            self._reading = True
            self._transport.resume_reading()
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()

    # -- the end

    def _hung_up(self) -> bool:
        """Whether the peer closed both directions."""
        sock = self._transport.get_extra_info("socket") if self._transport else None
        return peer_closed(sock, self._head.method if self._head is not None else "")

    def check(self, now: float) -> None:
        """Called about once a second: late clients, and half-closed ones that closed the rest."""
        if self._transport is None or self._taken:
            return
        if self.deadline and now > self.deadline:
            self.deadline = 0.0
            if self._lingering or self._head is not None or not self._buffer:
                self.abort()
            else:
                self._refuse(BadRequest("timed out waiting for the request", 408))
        elif self._half_closed and self._head is not None and self._hung_up():
            self.abort()

    def abort(self) -> None:
        """Drop the connection now."""
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """The server shuts down: idle connections end now, busy ones get their handler cancelled."""
        self._keep_alive = False
        if self._task is not None and not self._task.done():
            self._task.cancel()
        elif self._transport is not None:
            self._transport.close()

    def _disconnect(self) -> None:
        if self.gone:
            return
        self.gone = True
        for callback in self._on_gone:
            callback()
        self._on_gone.clear()
        if self._body is not None:
            self._body.wake()
        self._wake(self._wake_writer)
        if self._task is not None and not self._task.done():
            self._task.cancel()

    @property
    def busy(self) -> asyncio.Task[None] | None:
        """The handler's task while it runs."""
        return self._task if self._task is not None and not self._task.done() else None

    @staticmethod
    def _wake(future: asyncio.Future[None] | None) -> None:
        if future is not None and not future.done():
            future.set_result(None)

    # -- for handlers

    def on_disconnect(self, callback: Callable[[], None]) -> None:
        """See routing.Connection."""
        if self.gone:
            callback()
        else:
            self._on_gone.append(callback)

    async def hijack(
        self, *, content_type: str, status_200: bool = False, headers: Mapping[str, str] | None = None
    ) -> Hijacked:
        """See routing.Connection."""
        assert self._head is not None
        if self._body is not None and not self._body.arrived:
            raise InvalidArgument("the request body must be read before the connection is taken over")
        if self.gone or self._transport is None:
            raise Cancelled("the client closed the connection")
        upgrade = "" if status_200 else self._head.upgrade
        self._write(render_hijack(content_type, upgrade, headers or {}))
        transport = self._transport
        transport.pause_reading()
        self._reading = False
        preface = bytes(self._buffer)
        self._buffer.clear()
        self.deadline = 0.0
        await self._flush(transport)
        fd = os.dup(transport.get_extra_info("socket").fileno())
        self._taken = True
        self._server.connections.discard(self)
        if self._task is not None:
            self._server.taken.add(self._task)
            self._task.add_done_callback(self._server.taken.discard)
        transport.abort()  # closes our descriptor only; the duplicate keeps the connection
        return Hijacked(fd, preface)

    async def _flush(self, transport: asyncio.Transport) -> None:
        transport.set_write_buffer_limits(high=0)
        if transport.get_write_buffer_size() > 0:
            async with asyncio.timeout(_HIJACK_FLUSH_S):
                await self._drain()
