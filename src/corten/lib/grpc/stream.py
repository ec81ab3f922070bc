"""One call on a connection, at either end: messages out and in, as slowly as the peer reads and we do. Daemon's loop.

What the peer sends and nobody has asked for yet stays within the stream's flow-control window: it is acknowledged when
`receive` takes it. What waits, come or to be sent, is bounded in all connections together: a call that is too much
fails, and the others go on. Source: gRPC over HTTP/2 (PROTOCOL-HTTP2.md), RFC 9113.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from corten.lib.grpc.headers import Headers
from corten.lib.grpc.status import Code, GrpcError
from corten.lib.protobuf.message import Message
from corten.lib.protobuf.wire import decode, encode

if TYPE_CHECKING:
    from corten.lib.grpc.wire import Wire

M = TypeVar("M", bound=Message)
_PREFIX = 5
_NO_ERROR = 0
_CANCEL = 8
_TOO_MUCH = "too much waits in calls of all clients: try again later"


class Stream:
    """One call; `headers` are what the caller began it with, `limit` bounds a message that is received (bytes)."""

    def __init__(self, wire: Wire, number: int, headers: Headers, *, limit: int) -> None:
        self.number = number
        self.headers = headers
        self._wire = wire
        self._limit = limit
        self._message = bytearray()  # what has come and was not received yet
        self._unread = 0  # of the window: what has come, and the peer was not told that it is taken
        self._claimed = 0
        self._refusal: GrpcError | None = None  # of what has come: there is no room for it
        self._is_sending = asyncio.Lock()
        self._arrival: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._answer: dict[str, str] = {}
        self._has_ended = False  # the peer has said all
        self._failure: GrpcError | None = None
        self.has_closed = False  # we have said all

    @property
    def path(self) -> str:
        """The method."""
        return next((value for name, value in self.headers if name == ":path"), "")

    @property
    def answer(self) -> dict[str, str]:
        """The headers and trailers that the peer has answered with."""
        return self._answer

    @property
    def is_over(self) -> bool:
        """Whether both ends have said all, or the call is broken off."""
        return self._failure is not None or (self._has_ended and self.has_closed)

    # -- receiving

    async def receive_bytes(self) -> bytes | None:
        """The peer's next message; None at the end. Raises GrpcError when the call breaks off."""
        while True:
            message = self._taken()
            if message is not None:
                self._read(_PREFIX + len(message))
                return message
            if self._unread:  # the message may be longer than the window
                self._read(self._unread)
            elif self._has_ended:
                if self._message:
                    raise GrpcError(Code.INTERNAL, "the call ended inside a message")
                return None
            elif self._failure is not None:
                raise self._failure
            else:
                self._arrival = asyncio.get_running_loop().create_future()
                await self._arrival

    async def receive(self, kind: type[M]) -> M | None:
        """As `receive_bytes`, decoded. Raises GrpcError, Malformed."""
        data = await self.receive_bytes()
        return None if data is None else decode(kind, data)

    def _taken(self) -> bytes | None:
        """The first message of what has come, if it is complete."""
        if self._refusal is not None:
            raise self._refusal
        head = self._message
        if len(head) < _PREFIX:
            return None
        if head[0]:
            raise GrpcError(Code.UNIMPLEMENTED, "compressed messages are not taken here")
        size = int.from_bytes(head[1:_PREFIX], "big")
        if size > self._limit:
            raise GrpcError(Code.RESOURCE_EXHAUSTED, f"a message of {size} bytes is over the limit of {self._limit}")
        if len(head) < _PREFIX + size:
            self._claim(size)
            return None
        message = bytes(memoryview(head)[_PREFIX : _PREFIX + size])
        del head[: _PREFIX + size]
        self._wire.hold(-_PREFIX - size)
        self._claim(0)
        return message

    def _claim(self, size: int) -> None:
        """Have room for a message that comes in parts: all of a connection's share it. Raises GrpcError."""
        if size != self._claimed:
            if not self._wire.claim(size - self._claimed):
                raise GrpcError(Code.RESOURCE_EXHAUSTED, "too many large messages come at once")
            self._claimed = size

    def _read(self, size: int) -> None:
        """Let the peer send as much again."""
        size = min(size, self._unread)
        self._unread -= size
        self._wire.acknowledge(self.number, size)

    # -- sending

    async def send_bytes(self, message: bytes, *, end: bool = False) -> None:
        """Send a message; `end` says that it is the last one. Returns when it is on its way. Raises GrpcError."""
        async with self._is_sending:
            data = memoryview(b"\0" + len(message).to_bytes(4, "big") + message)
            waiting = len(data) if len(data) > self._wire.room(self.number) else 0
            if not self._wire.hold(waiting):
                raise GrpcError(Code.RESOURCE_EXHAUSTED, _TOO_MUCH)
            try:
                await self._send(data, end=end)
            finally:
                self._wire.hold(-waiting)

    async def _send(self, data: memoryview, *, end: bool) -> None:
        while data:
            size = self._wire.room(self.number) if self._failure is None and not self.has_closed else 0
            if self._failure is not None:
                raise self._failure
            if self.has_closed:
                raise GrpcError(Code.INTERNAL, "the call is closed for sending")
            if size > 0:
                piece, data = data[:size], data[size:]
                self.has_closed = end and not data
                self._wire.send_data(self.number, bytes(piece), end=self.has_closed)
            else:
                self._room = asyncio.get_running_loop().create_future()
                await self._room

    async def send(self, message: Message, *, end: bool = False) -> None:
        """As `send_bytes`, encoded."""
        await self.send_bytes(encode(message), end=end)

    async def end(self) -> None:
        """Say that no message follows."""
        async with self._is_sending:
            if not self.has_closed and self._failure is None:
                self.has_closed = True
                self._wire.send_data(self.number, b"", end=True)

    def reset(self, code: int = _CANCEL) -> None:
        """Break the call off."""
        self._wire.reset(self.number, code)
        self.fail(GrpcError(Code.CANCELLED, "the call was cancelled"))

    # -- what the connection reports

    def arrived(self, piece: bytes, size: int) -> None:
        """Bytes have come; `size` is what they take of the window. A frame without bytes takes nothing of either: any
        number of them may come (CVE-2019-9518)."""
        if self._refusal is None and not self._wire.hold(len(piece)):
            self._refusal = GrpcError(Code.RESOURCE_EXHAUSTED, _TOO_MUCH)
            self._forget_message()
        if self._refusal is not None:
            self._wire.acknowledge(self.number, size)
        else:
            self._message += piece
            self._unread += size
        _wake(self._arrival)

    def answered(self, headers: Headers) -> None:
        """Headers or trailers of the answer have come."""
        self._answer.update(headers)
        _wake(self._arrival)

    def ended(self) -> None:
        """The peer has said all."""
        self._has_ended = True
        _wake(self._arrival)

    def was_reset(self, code: int) -> None:
        """The peer has broken the call off. A Go server does so behind its trailers, when the caller has more to say:
        that is the end of a call that went well, too."""
        if code == _NO_ERROR and "grpc-status" in self._answer:
            self._has_ended = True
        self.fail(GrpcError(Code.CANCELLED, f"the peer has cancelled the call (HTTP/2 error {code})"))

    def fail(self, error: GrpcError) -> None:
        """Nothing more can be sent; what has come can still be received."""
        if self._failure is None:
            self._failure = error
        self.writable()
        _wake(self._arrival)

    def writable(self) -> None:
        """There may be room to send."""
        _wake(self._room)

    def dropped(self) -> int:
        """Forget what nobody will receive; returns what it takes of the connection's window."""
        size, self._unread = self._unread, 0
        self._forget_message()
        self._claim(0)
        return size

    def _forget_message(self) -> None:
        self._wire.hold(-len(self._message))
        self._message.clear()


def _wake(future: asyncio.Future[None] | None) -> None:
    if future is not None and not future.done():
        future.set_result(None)
