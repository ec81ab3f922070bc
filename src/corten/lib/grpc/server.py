"""Serves gRPC methods on open connections: a task a call, ended with the call or the connection. Daemon's loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import TypeVar, cast

from corten.errors import CortenError
from corten.lib.grpc.headers import Metadata, timeout_s
from corten.lib.grpc.status import Code, GrpcError, trailers_of
from corten.lib.grpc.stream import Stream
from corten.lib.grpc.wire import Wire
from corten.lib.memory import Memory
from corten.lib.protobuf.message import Message
from corten.lib.protobuf.wire import encode

_LOG = logging.getLogger("corten.grpc")
_RUNNING = 1152  # calls of one connection, those included that are being cancelled
_NO_ERROR, _REFUSED = 0, 7

Q = TypeVar("Q", bound=Message)


class Call:
    """One call that a peer makes: what it says is received from it, and answered with messages."""

    def __init__(self, wire: Wire, stream: Stream) -> None:
        self._wire = wire
        self._stream = stream
        self._is_answered = False
        self.metadata = Metadata(stream.headers)

    async def receive(self, kind: type[Q]) -> Q | None:
        """The caller's next message; None at the end. Raises GrpcError, Malformed."""
        return await self._stream.receive(kind)

    async def receive_bytes(self) -> bytes | None:
        """As `receive`, not decoded."""
        return await self._stream.receive_bytes()

    async def send(self, message: Message) -> None:
        """Answer with a message. Raises GrpcError when the caller is gone."""
        await self.send_bytes(encode(message))

    async def send_bytes(self, message: bytes) -> None:
        """As `send`, encoded already."""
        self.begin()
        await self._stream.send_bytes(message)

    def begin(self, metadata: list[tuple[str, str]] | None = None) -> None:
        """Send the headers, if they were not yet."""
        if not self._is_answered:
            self._is_answered = True
            headers = [(":status", "200"), ("content-type", "application/grpc"), *(metadata or [])]
            self._wire.send_headers(self._stream.number, headers)

    def finish(self, error: GrpcError | None) -> None:
        """Send the trailers."""
        if self._is_answered:
            self._wire.send_headers(self._stream.number, trailers_of(error), end=True)
        else:
            head = [(":status", "200"), ("content-type", "application/grpc")]
            self._wire.send_headers(self._stream.number, [*head, *trailers_of(error)], end=True)
        self._wire.reset(self._stream.number, _NO_ERROR)  # of what the caller still wanted to say


Handler = Callable[[Call], Awaitable[None]]


def unary(kind: type[Q], answer: Callable[[Q, Metadata], Awaitable[Message]]) -> Handler:
    """A method that takes a message and gives one."""

    async def handle(call: Call) -> None:
        request = await call.receive(kind)
        if request is None:
            raise GrpcError(Code.INTERNAL, "the call has no message")
        await call.send(await answer(request, call.metadata))

    return handle


def streaming(kind: type[Q], answer: Callable[[Q, Metadata], AsyncIterator[Message]]) -> Handler:
    """A method that takes a message and gives any number of them."""

    async def handle(call: Call) -> None:
        request = await call.receive(kind)
        if request is None:
            raise GrpcError(Code.INTERNAL, "the call has no message")
        call.begin()
        async with aclosing(cast("AsyncGenerator[Message, None]", answer(request, call.metadata))) as messages:
            async for message in messages:
                await call.send(message)

    return handle


class Connection:
    """One peer's connection, on which it calls `methods`, by their paths. `memory` is shared with other connections."""

    def __init__(self, methods: Mapping[str, Handler], *, limit: int, memory: Memory | None = None) -> None:
        self._methods = methods
        self._wire = Wire(accept=self._accept, limit=limit, memory=memory)
        self._wire.on_reset = self._cancel
        self._tasks: dict[int, asyncio.Task[None]] = {}

    async def serve(self, fd: int, preface: bytes = b"") -> None:
        """Serve until the connection is closed and all calls have ended; cancelled, close it. Raises OSError."""
        try:
            await self._wire.start(fd, preface)
            await self._wire.lost
        finally:
            self._wire.close()
            await self._settled()

    async def _settled(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            _cancel_once(task)
        if tasks:
            await asyncio.wait(tasks)

    def _accept(self, stream: Stream) -> None:
        if len(self._tasks) >= _RUNNING:
            stream.reset(_REFUSED)
            self._wire.forget(stream)
            return
        task = asyncio.get_running_loop().create_task(self._handle(stream))
        self._tasks[stream.number] = task
        task.add_done_callback(lambda _: self._tasks.pop(stream.number, None))

    def _cancel(self, stream: Stream) -> None:
        task = self._tasks.get(stream.number)
        if task is not None:
            _cancel_once(task)

    async def _handle(self, stream: Stream) -> None:
        call = Call(self._wire, stream)
        try:
            call.finish(await self._outcome(call, stream))
        except asyncio.CancelledError:  # not always by the caller, who must hear of the end then
            call.finish(GrpcError(Code.CANCELLED, "context canceled"))
            raise
        finally:
            self._wire.forget(stream)

    async def _outcome(self, call: Call, stream: Stream) -> GrpcError | None:
        """Run the method; how it ended."""
        handler = self._methods.get(stream.path)
        if handler is None:
            service, _, method = stream.path.rpartition("/")
            return GrpcError(Code.UNIMPLEMENTED, f"unknown method {method[:128]} for service {service[1:129]}")
        try:
            headers = dict(stream.headers)
            async with asyncio.timeout(timeout_s(headers.get("grpc-timeout", ""))) as deadline:
                await handler(call)
        except GrpcError as error:
            return error
        except TimeoutError:
            late = deadline.expired()
            return GrpcError(Code.DEADLINE_EXCEEDED if late else Code.UNKNOWN, "context deadline exceeded")
        except CortenError as error:
            return GrpcError(Code.UNKNOWN, error.message)
        except Exception:
            _LOG.exception("a call failed: %s", stream.path)
            return GrpcError(Code.INTERNAL, "an internal error; the daemon's log has more")
        return None


def _cancel_once(task: asyncio.Task[None]) -> None:
    """Cancel a task, unless it was already: what it does in its end must not be cut short."""
    if not task.cancelling():
        task.cancel()
