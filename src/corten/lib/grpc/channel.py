"""Calls gRPC methods that the peer of an open connection serves. Daemon's loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TypeVar

from corten.lib.grpc.headers import request_headers
from corten.lib.grpc.status import Code, GrpcError, error_of
from corten.lib.grpc.stream import Stream
from corten.lib.grpc.wire import Wire
from corten.lib.memory import Memory
from corten.lib.protobuf.message import Message

R = TypeVar("R", bound=Message)
Pairs = Iterable[tuple[str, str]]


class Bidi:
    """A call with any number of messages both ways."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    async def send(self, message: Message, *, end: bool = False) -> None:
        """Send a message (of at most 3 MiB); `end` says that it is the last one. Raises GrpcError: how the call has
        ended, when the peer has done so early."""
        try:
            await self._stream.send(message, end=end)
        except GrpcError as error:
            if "grpc-status" in self._stream.answer:
                raise (error_of(self._stream.answer) or error) from error
            raise

    async def send_bytes(self, message: bytes) -> None:
        """As `send`, of a message that is encoded already."""
        try:
            await self._stream.send_bytes(message)
        except GrpcError as error:
            raise self._reason(error) from error

    async def receive_bytes(self) -> bytes | None:
        """As `receive`, of a message as it came."""
        message = await self._stream.receive_bytes()
        if message is None and (error := error_of(self._stream.answer)) is not None:
            raise error
        return message

    async def end(self) -> None:
        """Say that no message follows."""
        await self._stream.end()

    def _reason(self, error: GrpcError) -> GrpcError:
        """How the peer has ended the call, if it has; else what went wrong here."""
        return (error_of(self._stream.answer) if "grpc-status" in self._stream.answer else None) or error

    async def receive(self, kind: type[R]) -> R | None:
        """The peer's next message; None when the call has ended well. Raises GrpcError otherwise, Malformed."""
        message = await self._stream.receive(kind)
        if message is None:
            error = error_of(self._stream.answer)
            if error is not None:
                raise error
        return message

    @property
    def metadata(self) -> dict[str, str]:
        """What the peer has answered with, beside messages, so far."""
        return self._stream.answer


class Channel:
    """The caller's end of a connection. `memory` is shared with other connections."""

    def __init__(self, memory: Memory | None = None) -> None:
        self._wire = Wire(accept=None, memory=memory)

    async def start(self, fd: int, preface: bytes = b"") -> None:
        """Speak on this socket, which belongs to the channel from now on. Raises OSError."""
        await self._wire.start(fd, preface)

    @property
    def is_open(self) -> bool:
        """Whether calls can be made."""
        return self._wire.is_open

    @property
    def heard(self) -> int:
        """How often something has come from the peer, whatever it was."""
        return self._wire.heard

    async def closed(self) -> None:
        """Wait for the end of the connection."""
        await asyncio.shield(self._wire.lost)

    def close(self) -> None:
        """Close the connection; calls on it fail."""
        self._wire.close()

    async def unary(
        self, path: str, request: Message, kind: type[R], *, metadata: Pairs = (), timeout_s: float | None = None
    ) -> R:
        """Call a method that takes one message and gives one. Raises GrpcError, Malformed."""
        try:
            async with asyncio.timeout(timeout_s), self._opened(path, metadata, timeout_s) as call:
                await call.send(request, end=True)
                answer = await call.receive(kind)
                if answer is None:
                    raise GrpcError(Code.INTERNAL, f"{path} has given no message")
                while await call.receive(kind) is not None:
                    raise GrpcError(Code.INTERNAL, f"{path} has given more than one message")
                return answer
        except TimeoutError as error:
            raise GrpcError(Code.DEADLINE_EXCEEDED, f"{path} has not answered in {timeout_s} s") from error

    @asynccontextmanager
    async def stream(self, path: str, *, metadata: Pairs = ()) -> AsyncIterator[Bidi]:
        """Call a method with streams; leaving the block before the call has ended cancels it. Raises GrpcError."""
        async with self._opened(path, metadata, None) as call:
            yield call

    @asynccontextmanager
    async def _opened(self, path: str, metadata: Pairs, timeout_s: float | None) -> AsyncIterator[Bidi]:
        stream = self._wire.open(request_headers(path, metadata, timeout_s))
        try:
            yield Bidi(stream)
        finally:
            if not stream.is_over:
                stream.reset()
            self._wire.forget(stream)
