"""Work that is ended properly although its client went away. Daemon's loop.

A cancelled task leaves threads at work behind it, which hold locks, files and rows: what comes next must find them
free, and what they have written to disk must be known in memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import suppress
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from corten.lib import blocking

T = TypeVar("T")
P = ParamSpec("P")


def never_half_done(work: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Awaitable[T]]:
    """Let each call go on to its end when whoever awaits it is cancelled, who waits for it, and is cancelled then."""

    @wraps(work)
    async def whole(*args: P.args, **kwargs: P.kwargs) -> T:
        task = asyncio.ensure_future(work(*args, **kwargs))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await settled([task])
            raise

    return whole


@never_half_done
async def released(close: Callable[[], None]) -> None:
    """Call the blocking `close` in a thread, whether or not this task is cancelled meanwhile."""
    await blocking.run(close)


async def all_of(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """What all give that run side by side; the first error ends the others, and is raised when they have let go."""
    works = list(works)
    current = asyncio.current_task()
    assert current is not None
    cancels = current.cancelling()
    try:
        if len(works) == 1:  # nothing to be beside: a task would only cost
            return [await works[0]]
        return await _together(works)
    finally:
        if current.cancelling() > cancels:  # whatever they ended by: work that waits for threads swallows it
            raise asyncio.CancelledError


async def _together(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await settled(tasks)
        raise


async def settled(works: Iterable[asyncio.Future[Any]]) -> None:
    """Wait until all have ended, however often this task is cancelled meanwhile; what they raised is not looked at."""
    works = list(works)
    while pending := [work for work in works if not work.done()]:
        with suppress(asyncio.CancelledError):
            await asyncio.wait(pending)
    for work in works:
        if not work.cancelled():
            work.exception()
