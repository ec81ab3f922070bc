"""Work that the kernel does not let go stops nobody else's."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace

import pytest

from corten.errors import Unavailable
from corten.lib import blocking


@pytest.mark.parametrize("pool", sorted(blocking._KINDS))
async def test_requests_that_hang_leave_their_places_to_others(
    monkeypatch: pytest.MonkeyPatch, pool: blocking.Pool
) -> None:
    monkeypatch.setitem(blocking._KINDS, pool, replace(blocking._KINDS[pool], late_s=0.01))
    let_go = threading.Event()
    hanging = [asyncio.ensure_future(blocking.run(let_go.wait, 60, pool=pool)) for _ in range(50)]
    await asyncio.sleep(0)  # they come first
    assert await blocking.run(lambda: 7, pool=pool) == 7
    assert not any(task.done() for task in hanging)
    let_go.set()
    assert await asyncio.gather(*hanging) == [True] * 50


async def test_requests_that_hang_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(blocking._KINDS, "netns", replace(blocking._KINDS["netns"], late_s=0.001))
    monkeypatch.setattr(blocking, "_MOST_LATE", 4)
    let_go = threading.Event()
    hanging = [asyncio.ensure_future(blocking.run(let_go.wait, 60, pool="netns")) for _ in range(100)]
    await asyncio.sleep(0)  # they come first
    with pytest.raises(Unavailable, match="do not return"):
        await blocking.run(lambda: 7, pool="netns")
    for task in hanging:
        task.cancel()
    await asyncio.gather(*hanging, return_exceptions=True)
    let_go.set()
    while True:  # as soon as the kernel has let go
        try:
            assert await blocking.run(lambda: 7, pool="netns") == 7
        except Unavailable:
            await asyncio.sleep(0.01)
        else:
            break


async def test_no_more_than_a_few_begin_at_once() -> None:
    let_go, begun = threading.Event(), []

    def work() -> None:
        begun.append(1)
        let_go.wait(60)

    tasks = [asyncio.ensure_future(blocking.run(work, pool="netns")) for _ in range(100)]
    while len(begun) < blocking._KINDS["netns"].at_once:
        await asyncio.sleep(0.001)
    assert len(begun) == blocking._KINDS["netns"].at_once
    let_go.set()
    await asyncio.gather(*tasks)
    assert len(begun) == 100


async def test_what_runs_aside_gives_its_result_or_its_error() -> None:
    assert await blocking.aside(lambda: 7) == 7
    with pytest.raises(ValueError, match="no number"):
        await blocking.aside(int_of, "no number")


def int_of(text: str) -> int:
    raise ValueError(text)


async def test_whoever_leaves_takes_no_result() -> None:
    let_go = threading.Event()
    waiting = asyncio.ensure_future(blocking.aside(let_go.wait, 60))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    let_go.set()
    assert waiting.cancelled()
