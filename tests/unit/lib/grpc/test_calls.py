"""Both ends of gRPC on a pair of sockets."""

import asyncio
import os
import socket
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Annotated

import pytest

from corten.errors import InvalidArgument
from corten.lib.grpc.channel import Channel
from corten.lib.grpc.server import Connection, streaming, unary
from corten.lib.grpc.status import Code, Detail, GrpcError
from corten.lib.protobuf.message import Message

LIMIT = 30


class Text(Message):
    text: Annotated[str, 1] = ""
    data: Annotated[bytes, 2] = b""


class Service:
    """What the tests call; `running` and `ended` tell of calls that wait."""

    def __init__(self):
        self.running = asyncio.Event()
        self.ended = asyncio.Event()
        self.tidying = asyncio.Event()
        self.may_end = asyncio.Event()
        self.sent = 0

    def methods(self):
        return {
            "/t/Echo": unary(Text, self.echo),
            "/t/Fail": unary(Text, self.fail),
            "/t/Wrong": unary(Text, self.wrong),
            "/t/Bug": unary(Text, self.bug),
            "/t/Wait": unary(Text, self.wait),
            "/t/Count": streaming(Text, self.count),
            "/t/Endless": streaming(Text, self.endless),
            "/t/Upper": self.upper,
            "/t/Early": self.early,
            "/t/Cancelled": self.cancelled,
            "/t/Tidy": unary(Text, self.tidy),
        }

    async def echo(self, request, metadata):
        return Text(text=request.text + metadata.first("x-more") + ",".join(metadata.all("x-list")), data=request.data)

    async def fail(self, request, metadata):
        raise GrpcError(Code.NOT_FOUND, request.text, [Detail(type_url="x/y", value=b"{}")])

    async def wrong(self, request, metadata):
        raise InvalidArgument("that was wrong")

    async def bug(self, request, metadata):
        raise ZeroDivisionError

    async def wait(self, request, metadata):
        self.running.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()

    async def count(self, request, metadata):
        for number in range(int(request.text)):
            yield Text(text=str(number))
        raise GrpcError(Code.ABORTED, "counted")

    async def endless(self, request, metadata):
        try:
            while True:
                yield Text(data=bytes(100_000))
                self.sent += 1
        finally:
            self.ended.set()

    async def upper(self, call):
        while (message := await call.receive(Text)) is not None:
            await call.send(Text(text=message.text.upper()))

    async def early(self, call):
        await call.receive(Text)
        await call.send(Text(text="enough"))

    async def cancelled(self, call):
        other = asyncio.get_running_loop().create_future()
        other.cancel()
        await other

    async def tidy(self, request, metadata):
        self.running.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.tidying.set()
            await self.may_end.wait()
            self.ended.set()


@asynccontextmanager
async def served(limit=4 << 20):
    """A channel, and the service at its other end."""
    here, there = socket.socketpair()
    service = Service()
    service.connection = Connection(service.methods(), limit=limit)
    server = asyncio.ensure_future(service.connection.serve(there.detach()))
    channel = Channel()
    await channel.start(here.detach())
    try:
        yield channel, service
    finally:
        channel.close()
        async with asyncio.timeout(LIMIT):
            await server


async def test_a_message_for_a_message():
    async with served() as (channel, _):
        pairs = [("x-more", "!"), ("x-list", "a"), ("x-list", "b")]
        answer = await channel.unary("/t/Echo", Text(text="grüß", data=b"\0\1"), Text, metadata=pairs, timeout_s=LIMIT)
        assert answer == Text(text="grüß!a,b", data=b"\0\1")


async def test_messages_larger_than_any_window():
    async with served() as (channel, _):
        data = os.urandom(3_500_000)
        assert (await channel.unary("/t/Echo", Text(data=data), Text, timeout_s=LIMIT)).data == data


async def test_a_message_over_the_limit_ends_its_call_alone():
    async with served(limit=1000) as (channel, _):
        with pytest.raises(GrpcError, match="over the limit") as caught:
            await channel.unary("/t/Echo", Text(data=bytes(3_000_000)), Text, timeout_s=LIMIT)
        assert caught.value.status is Code.RESOURCE_EXHAUSTED
        assert (await channel.unary("/t/Echo", Text(text="a"), Text, timeout_s=LIMIT)).text == "a"


async def test_an_error_has_its_code_text_and_details():
    async with served() as (channel, _):
        with pytest.raises(GrpcError) as caught:
            await channel.unary("/t/Fail", Text(text="nö: 100%\nreally"), Text, timeout_s=LIMIT)
        assert (caught.value.status, caught.value.message) == (Code.NOT_FOUND, "nö: 100%\nreally")
        assert caught.value.details == (Detail(type_url="x/y", value=b"{}"),)


@pytest.mark.parametrize(
    ("method", "code", "text"),
    [
        ("/t/Wrong", Code.UNKNOWN, "that was wrong"),
        ("/t/Bug", Code.INTERNAL, "internal error"),
        ("/t/Nothing", Code.UNIMPLEMENTED, "unknown method Nothing for service t"),
    ],
)
async def test_what_goes_wrong_is_told_as_a_status(method, code, text):
    async with served() as (channel, _):
        with pytest.raises(GrpcError, match=text) as caught:
            await channel.unary(method, Text(), Text, timeout_s=LIMIT)
        assert caught.value.status is code


async def test_a_stream_ends_with_what_the_method_raises():
    async with served() as (channel, _), channel.stream("/t/Count") as call:
        await call.send(Text(text="300"), end=True)
        for number in range(300):
            assert (await call.receive(Text)).text == str(number)
        with pytest.raises(GrpcError, match="counted"):
            await call.receive(Text)


async def test_both_ends_of_a_call_stream():
    async with served() as (channel, _), channel.stream("/t/Upper") as call:
        for word in ("one", "two"):
            await call.send(Text(text=word))
            assert (await call.receive(Text)).text == word.upper()
        await call.end()
        assert await call.receive(Text) is None


async def test_a_server_that_ends_before_its_caller_ends_well():
    async with served() as (channel, _):
        for _attempt in range(20):
            async with channel.stream("/t/Early") as call:
                await call.send(Text(text="x"))
                assert (await call.receive(Text)).text == "enough"
                assert await call.receive(Text) is None


async def test_a_deadline_ends_the_call_at_both_ends():
    async with served() as (channel, service):
        with pytest.raises(GrpcError) as caught:
            await channel.unary("/t/Wait", Text(), Text, timeout_s=0.05)
        assert caught.value.status is Code.DEADLINE_EXCEEDED
        async with asyncio.timeout(LIMIT):
            await service.ended.wait()


async def test_who_leaves_a_call_cancels_it():
    async with served() as (channel, service):
        task = asyncio.ensure_future(channel.unary("/t/Wait", Text(), Text))
        async with asyncio.timeout(LIMIT):
            await service.running.wait()
            task.cancel()
            await service.ended.wait()
        assert (await channel.unary("/t/Echo", Text(text="on"), Text, timeout_s=LIMIT)).text == "on"


async def test_the_end_of_a_connection_ends_its_calls_at_both_ends():
    async with served() as (channel, service):
        task = asyncio.ensure_future(channel.unary("/t/Wait", Text(), Text))
        async with asyncio.timeout(LIMIT):
            await service.running.wait()
            channel.close()
            await service.ended.wait()
            with pytest.raises(GrpcError) as caught:
                await task
        assert caught.value.status is Code.UNAVAILABLE
        with pytest.raises(GrpcError, match="closed"):
            await channel.unary("/t/Echo", Text(), Text)


async def test_calls_side_by_side():
    async with served() as (channel, _):
        calls = [channel.unary("/t/Echo", Text(text=str(n), data=bytes(n * 1000)), Text) for n in range(50)]
        async with asyncio.timeout(LIMIT):
            assert [answer.text for answer in await asyncio.gather(*calls)] == [str(n) for n in range(50)]


async def test_who_does_not_read_is_not_sent_more_than_a_window():
    async with served() as (channel, service):
        async with channel.stream("/t/Endless") as call:
            await call.send(Text(), end=True)
            assert (await call.receive(Text)) is not None
            before = -1
            while before != service.sent:  # the window fills up, and then nothing is sent any more
                before = service.sent
                for _turn in range(200):
                    await asyncio.sleep(0)
            assert service.sent < 100
        async with asyncio.timeout(LIMIT):
            await service.ended.wait()


async def test_a_call_that_is_cancelled_by_somebody_else_is_told_its_end():
    """Ending a build ends the calls that wait for its result."""
    async with served() as (channel, _), channel.stream("/t/Cancelled") as call:
        await call.send(Text(), end=True)
        async with asyncio.timeout(LIMIT):
            with pytest.raises(GrpcError, match="context canceled") as caught:
                await call.receive(Text)
        assert caught.value.status is Code.CANCELLED


async def test_what_a_call_does_in_its_end_is_not_cut_short():
    """It is cancelled by its caller, and then its connection ends."""
    async with served() as (channel, service):
        async with asyncio.timeout(LIMIT):
            async with channel.stream("/t/Tidy") as call:
                await call.send(Text(), end=True)
                await service.running.wait()
            await service.tidying.wait()
            channel.close()
            await service.connection._wire.lost
            for _turn in range(20):  # what the end of the connection starts
                await asyncio.sleep(0)
            service.may_end.set()
            await service.ended.wait()


async def test_many_large_messages_share_a_bound():
    """Each call alone may have a message of 16 MiB."""
    size = 15 << 20
    async with served(limit=16 << 20) as (channel, _), asyncio.timeout(LIMIT):
        async with AsyncExitStack() as closing:
            for _ in range(5):
                call = await closing.enter_async_context(channel.stream("/t/Upper"))
                channel._wire.send_data(call._stream.number, b"\0" + size.to_bytes(4, "big") + b"x", end=False)
            with pytest.raises(GrpcError, match="too many large messages") as caught:
                await call.receive(Text)
            assert caught.value.status is Code.RESOURCE_EXHAUSTED
        answer = await channel.unary("/t/Echo", Text(data=bytes(size)), Text)
        assert len(answer.data) == size


async def test_a_connection_has_room_for_the_calls_of_many_builds():
    """buildx has one connection for all targets of a bake; for each there are calls that last as long as its build."""
    async with served() as (channel, service), asyncio.timeout(LIMIT):
        waiting = [asyncio.ensure_future(channel.unary("/t/Wait", Text(), Text)) for _ in range(500)]
        while len(service.connection._tasks) < len(waiting):
            await asyncio.sleep(0)
        assert (await channel.unary("/t/Echo", Text(text="on"), Text)).text == "on"
        assert not any(task.done() for task in waiting)
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
