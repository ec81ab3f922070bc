"""Builds and results of buildx clients that go away: all is let go, by those who hold it, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.unit.build.session_peer import Peer

from corten.build.buildkit.solving import Solving
from corten.build.service import Job
from corten.build.session.sender import send_tree
from corten.build.status.board import StatusBoard
from corten.build.status.face import StatusFace
from corten.build.trees.tree import EmptyTree

LIMIT = 30


class Service:
    """Builds until it is told to end, and takes its time to end."""

    def __init__(self) -> None:
        self.running = asyncio.Event()
        self.ending = asyncio.Event()
        self.may_end = asyncio.Event()
        self.is_clean = False

    @asynccontextmanager
    async def solved(self, _job, _progress) -> AsyncIterator[object]:
        self.running.set()
        try:
            yield object()
        finally:
            self.ending.set()
            await self.may_end.wait()
            self.is_clean = True


@asynccontextmanager
async def bring(_progress, _told) -> AsyncIterator[object]:
    yield object()


def solving_of(service: Service) -> Solving:
    def job(source: object) -> Job:
        return source  # type: ignore[return-value]

    return Solving(service, StatusFace(StatusBoard()), job, bring)  # type: ignore[arg-type]


async def test_a_result_that_is_let_go_twice_is_let_go_whole() -> None:
    """By Ctrl-C, which breaks the call that has built and the call that waits for all of it off."""
    service = Service()
    solving = solving_of(service)
    async with asyncio.timeout(LIMIT):
        await solving.build()
        closing = [asyncio.ensure_future(solving.close())]
        await service.ending.wait()
        closing.append(asyncio.ensure_future(solving.close()))
        for _turn in range(20):
            await asyncio.sleep(0)
        service.may_end.set()
        await asyncio.gather(*closing)
    assert service.is_clean


async def test_who_waits_for_a_build_that_is_ended_before_it_began_is_told() -> None:
    solving = solving_of(Service())
    building = asyncio.ensure_future(solving.build())
    ending = asyncio.ensure_future(solving.close())
    await asyncio.wait([building, ending], timeout=LIMIT)
    assert building.cancelled()
    assert ending.done()


class SlowTree(EmptyTree):
    """A tree that is being listed until it is told to go on."""

    def __init__(self) -> None:
        self.listing = threading.Event()
        self.may_go_on = threading.Event()
        self.is_in_use = False

    def names(self, path: str) -> list[str]:
        self.is_in_use = True
        self.listing.set()
        assert self.may_go_on.wait(LIMIT)
        self.is_in_use = False
        return super().names(path)


async def test_nobody_reads_a_tree_any_more_whose_transfer_is_over() -> None:
    tree = SlowTree()
    sending = asyncio.ensure_future(send_tree(Peer(), 0, tree))
    async with asyncio.timeout(LIMIT):
        await asyncio.to_thread(tree.listing.wait, LIMIT)
        sending.cancel()
        going_on = asyncio.get_running_loop().call_later(0.1, tree.may_go_on.set)
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert not tree.is_in_use
        going_on.cancel()
        tree.may_go_on.set()
