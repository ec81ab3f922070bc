"""What waits in all connections together is bounded: a call that is too much fails, and small ones go on."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Annotated

import pytest

from corten.errors import ResourceExhausted
from corten.lib.grpc import wire
from corten.lib.grpc.channel import Bidi, Channel
from corten.lib.grpc.server import Call, Connection
from corten.lib.grpc.status import Code, GrpcError
from corten.lib.memory import Memory
from corten.lib.protobuf.message import Message

LIMIT = 30
ROOM = 3 << 19
LARGE = bytes(600_000)  # below the window of a stream: it comes although nobody receives it


class Data(Message):
    data: Annotated[bytes, 1] = b""


async def hold(call: Call) -> None:
    """Receives nothing."""
    call.begin()
    await asyncio.Event().wait()


async def echo(call: Call) -> None:
    while (message := await call.receive(Data)) is not None:
        await call.send(message)


async def give(call: Call) -> None:
    await call.receive(Data)
    for _ in range(4):
        await call.send(Data(data=bytes(3 << 20)))


METHODS = {"/t/Hold": hold, "/t/Echo": echo, "/t/Give": give}


@asynccontextmanager
async def connected(memory: Memory) -> AsyncIterator[tuple[Channel, Connection]]:
    ours, theirs = socket.socketpair()
    connection = Connection(METHODS, limit=4 << 20, memory=memory)
    serving = asyncio.ensure_future(connection.serve(theirs.detach()))
    channel = Channel()
    await channel.start(ours.detach())
    try:
        yield channel, connection
    finally:
        channel.close()
        async with asyncio.timeout(LIMIT):
            await serving


async def echoed(channel: Channel, data: bytes) -> int:
    answer = await channel.unary("/t/Echo", Data(data=data), Data, timeout_s=LIMIT)
    return len(answer.data)


async def held(closing: AsyncExitStack, channel: Channel, connection: Connection) -> Bidi:
    """A call that sends much to who receives nothing; it has all come."""
    before = connection._wire._held
    call = await closing.enter_async_context(channel.stream("/t/Hold"))
    await call.send(Data(data=LARGE))
    async with asyncio.timeout(LIMIT):
        while connection._wire._held < before + len(LARGE):
            await asyncio.sleep(0)
    return call


async def test_what_one_client_holds_others_cannot_but_small_calls_go_on() -> None:
    memory = Memory(ROOM)
    async with connected(memory) as (greedy, its), connected(memory) as (other, _):
        async with AsyncExitStack() as closing:
            for _ in range(3):
                await held(closing, greedy, its)
            with pytest.raises(GrpcError, match="too much waits in calls of all clients") as caught:
                await echoed(other, LARGE)
            assert caught.value.status is Code.RESOURCE_EXHAUSTED
            assert await echoed(other, bytes(100_000)) == 100_000
        async with asyncio.timeout(LIMIT):
            while its._wire._held:
                await asyncio.sleep(0)
        assert await echoed(other, LARGE) == len(LARGE)


async def test_one_client_cannot_take_it_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "_EACH", 1 << 20)
    memory = Memory(ROOM)
    async with AsyncExitStack() as closing, connected(memory) as (greedy, its), connected(memory) as (other, _):
        await held(closing, greedy, its)
        with pytest.raises(GrpcError, match="too much waits"):
            await echoed(greedy, LARGE)
        assert await echoed(other, LARGE) == len(LARGE)


async def test_a_client_that_leaves_gives_back_what_it_held() -> None:
    memory = Memory(ROOM)
    async with AsyncExitStack() as closing, connected(memory) as (greedy, its):
        for _ in range(3):
            await held(closing, greedy, its)
        with pytest.raises(ResourceExhausted):
            memory.take(ROOM)
        greedy.close()
    memory.take(ROOM)


async def test_a_message_over_the_bound_in_parts_is_refused_and_leaves_nothing() -> None:
    memory = Memory(1 << 20)
    async with connected(memory) as (channel, _):
        with pytest.raises(GrpcError) as caught:
            await echoed(channel, bytes(3 << 20))
        assert caught.value.status is Code.RESOURCE_EXHAUSTED
        memory.take(1 << 20)
        memory.take(-1 << 20)
        assert await echoed(channel, LARGE) == len(LARGE)


async def test_answers_that_nobody_reads_are_bounded_too() -> None:
    memory = Memory(8 << 20)
    async with AsyncExitStack() as closing, connected(memory) as (channel, _):
        calls = [await closing.enter_async_context(channel.stream("/t/Give")) for _ in range(4)]
        for call in calls:
            await call.send(Data(), end=True)
        outcomes = []
        for call in reversed(calls):
            try:
                async with asyncio.timeout(LIMIT):
                    await call.receive(Data)
            except GrpcError as error:
                outcomes.append(error.status)
                break
        assert outcomes == [Code.RESOURCE_EXHAUSTED]
