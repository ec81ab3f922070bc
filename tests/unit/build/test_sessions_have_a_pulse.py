"""Clients whose connection is open and who answer nothing any more are given up; others are not."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from corten.build.buildkit.messages.control import HealthRequest, HealthResponse
from corten.build.buildkit.pulse import CHECK, Rhythm
from corten.build.buildkit.sessions import Session, Sessions
from corten.lib.grpc.channel import Channel
from corten.lib.grpc.server import Call, Connection, Handler, unary

RHYTHM = Rhythm(interval_s=0.001, timeout_s=0.05)
LIMIT = 30


@asynccontextmanager
async def kept(methods: dict[str, Handler], *offered: str) -> AsyncIterator[asyncio.Task[None]]:
    """A session with a client that serves these methods, as the daemon keeps it."""
    async with session(methods, *offered) as (keeping, _channel):
        yield keeping


@asynccontextmanager
async def session(methods: dict[str, Handler], *offered: str) -> AsyncIterator[tuple[asyncio.Task[None], Channel]]:
    """The same, and the daemon's end of its connection."""
    ours, theirs = socket.socketpair()
    serving = asyncio.ensure_future(Connection(methods, limit=1 << 20).serve(theirs.detach()))
    channel = Channel()
    await channel.start(ours.detach())
    found = Session(id="s", name="", shared_key="", methods=frozenset(offered), channel=channel)
    keeping = asyncio.ensure_future(Sessions(RHYTHM).keep(found))
    try:
        yield keeping, channel
    finally:
        for task in (keeping, serving):
            task.cancel()
        await asyncio.wait([keeping, serving])


async def test_a_client_that_hangs_is_given_up() -> None:
    async def hang(_call: Call) -> None:
        await asyncio.Event().wait()

    async with kept({CHECK: hang}, CHECK.lower()) as keeping:
        async with asyncio.timeout(LIMIT):
            await keeping


async def test_a_client_that_has_no_time_to_answer_but_sends_files_is_kept() -> None:
    asked = 0
    was_asked = asyncio.Event()

    async def hang(_call: Call) -> None:
        nonlocal asked
        asked += 1
        was_asked.set()
        await asyncio.Event().wait()

    async def send(call: Call) -> None:
        call.begin()
        while True:
            await was_asked.wait()
            was_asked.clear()
            await call.send(HealthResponse())

    async with session({CHECK: hang, "/files": send}, CHECK.lower()) as (keeping, channel):
        async with asyncio.timeout(LIMIT), channel.stream("/files") as files:
            for _ in range(5):
                assert await files.receive(HealthResponse) is not None
        assert asked >= 5
        assert not keeping.done()


async def test_a_client_that_answers_is_kept() -> None:
    asked = 0
    enough = asyncio.Event()

    async def answer(_request: HealthRequest, _metadata: object) -> HealthResponse:
        nonlocal asked
        asked += 1
        if asked >= 5:
            enough.set()
        return HealthResponse()

    async with kept({CHECK: unary(HealthRequest, answer)}, CHECK.lower()) as keeping:
        async with asyncio.timeout(LIMIT):
            await enough.wait()
        assert not keeping.done()


@pytest.mark.parametrize("offered", [(), (CHECK.lower(),)])
async def test_a_client_that_does_not_know_the_question_is_kept(offered: tuple[str, ...]) -> None:
    async with kept({}, *offered) as keeping:
        done, _ = await asyncio.wait([keeping], timeout=0.3)
        assert not done
