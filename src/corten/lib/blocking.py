"""The one crossing from async to blocking code: bounded, named thread pools. Daemon only.

`disk` for file and mount work, `net` for registry transfers (long), `cpu` for hashing and compression, `stream` for
what goes at a client's pace: slow clients must not take the threads that a start needs; `build` for the copies and
digests of builds, whose contexts are as large as they like. `netns` is no pool, but threads that come and go: requests
to the kernel that a running container may hold up, in its own network namespace. Work under about a millisecond (a row
in SQLite, a netlink message) may run on the loop itself: a thread hop costs as much.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, Literal, TypeVar
from weakref import WeakKeyDictionary

from corten.errors import Unavailable

T = TypeVar("T")
Pool = Literal["disk", "net", "cpu", "stream", "netns", "build"]

_SIZES: dict[Pool, int] = {"disk": 16, "net": 16, "cpu": 4, "stream": 64, "build": 8}
_pools: dict[Pool, ThreadPoolExecutor] = {}
_AT_ONCE = 16  # requests in namespaces
_LATE_S = 1.0  # one that takes longer is no longer counted among them: containers that hang stop nobody else's
_MOST_LATE = 256


def _pool(name: Pool) -> ThreadPoolExecutor:
    pool = _pools.get(name)
    if pool is None:
        pool = _pools[name] = ThreadPoolExecutor(_SIZES[name], thread_name_prefix=f"corten-{name}")
    return pool


async def run(fn: Callable[..., T], *args: Any, pool: Pool = "disk", **kwargs: Any) -> T:
    """Run blocking `fn` in the named pool and await its result; context variables are carried along."""
    context = contextvars.copy_context()
    call: Callable[[], T] = partial(context.run, partial(fn, *args, **kwargs))
    if pool == "netns":
        return await _in_turn(call)
    return await asyncio.get_running_loop().run_in_executor(_pool(pool), call)


async def aside(fn: Callable[..., T], *args: Any) -> T:
    """Run `fn`, which may never return, in a thread of its own, and await its result: no other work waits for it, nor
    does the daemon's end. Who calls this bounds how many there are."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()

    def tell(say: Callable[[Any], None], what: object) -> None:
        if not outcome.done():  # who awaited it may have left
            say(what)

    def work() -> None:
        say: Callable[[Any], None] = outcome.set_result
        try:
            what: object = fn(*args)
        except BaseException as error:
            say, what = outcome.set_exception, error
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(tell, say, what)

    threading.Thread(target=work, name="corten-aside", daemon=True).start()
    return await outcome


class _Turns:
    """Of one loop: who may begin, and how many have not returned for long."""

    def __init__(self) -> None:
        self.free = asyncio.Semaphore(_AT_ONCE)
        self.late = 0

    def returned(self, running: asyncio.Future[Any]) -> None:
        """One that was late; who asked for it may have left."""
        self.late -= 1
        if not running.cancelled():
            running.exception()


_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, _Turns] = WeakKeyDictionary()


async def _in_turn(call: Callable[[], T]) -> T:
    """Run `call` aside, when it is its turn. Raises Unavailable when too many do not return."""
    turns = _turns.setdefault(asyncio.get_running_loop(), _Turns())
    async with turns.free:
        if turns.late >= _MOST_LATE:
            raise Unavailable(f"{_MOST_LATE} requests in network namespaces of containers do not return")
        running = asyncio.ensure_future(aside(call))
        try:
            await asyncio.wait([running], timeout=_LATE_S)
        finally:
            if not running.done():
                turns.late += 1
                running.add_done_callback(turns.returned)
    return await asyncio.shield(running)


def shutdown() -> None:
    """End the pools without waiting for what still runs; for the daemon's last moment."""
    for pool in _pools.values():
        pool.shutdown(wait=False, cancel_futures=True)
    _pools.clear()
