"""The one crossing from async to blocking code: bounded, named thread pools. Daemon only.

`disk` for file and mount work, `net` for registry transfers (long), `cpu` for hashing and compression, `stream` for
what goes at a client's pace: slow clients must not take the threads that a start needs. `netns`, `passed` and `build`
are no pools, but threads that come and go, for what may never return: requests to the kernel that a running container
may hold up, in its own network namespace; looks at directories that clients pass, of file systems that may not answer;
copies and digests of builds, whose contexts are such directories, and as large as they like. Work under about a
millisecond (a row in SQLite, a netlink message) may run on the loop itself: a thread hop costs as much.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeVar
from weakref import WeakKeyDictionary

from corten.errors import Unavailable

T = TypeVar("T")
Pool = Literal["disk", "net", "cpu", "stream", "netns", "passed", "build"]

_SIZES: dict[Pool, int] = {"disk": 16, "net": 16, "cpu": 4, "stream": 64}
_pools: dict[Pool, ThreadPoolExecutor] = {}
_MOST_LATE = 256  # of each kind


@dataclass(frozen=True, slots=True)
class _Kind:
    """What may never return: so many at once, but that one which takes longer is not counted among them any more, so
    that what hangs stops nobody else's."""

    what: str
    at_once: int
    late_s: float


_KINDS: dict[Pool, _Kind] = {
    "netns": _Kind("requests in network namespaces of containers", 16, 1.0),
    "passed": _Kind("looks at directories that clients passed", 16, 1.0),
    "build": _Kind("copies of builds", 8, 30.0),
}


def _pool(name: Pool) -> ThreadPoolExecutor:
    pool = _pools.get(name)
    if pool is None:
        pool = _pools[name] = ThreadPoolExecutor(_SIZES[name], thread_name_prefix=f"corten-{name}")
    return pool


async def run(fn: Callable[..., T], *args: Any, pool: Pool = "disk", **kwargs: Any) -> T:
    """Run blocking `fn` in the named pool and await its result; context variables are carried along."""
    context = contextvars.copy_context()
    call: Callable[[], T] = partial(context.run, partial(fn, *args, **kwargs))
    if pool in _KINDS:
        return await _in_turn(call, pool)
    return await asyncio.get_running_loop().run_in_executor(_pool(pool), call)


async def aside(fn: Callable[..., T], *args: Any) -> T:
    """Run `fn`, which may never return, in a thread of its own, and await its result: no other work waits for it, nor
    does the daemon's end. Who calls this bounds how many there are. Raises Unavailable where no thread can be had."""
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

    try:
        threading.Thread(target=work, name="corten-aside", daemon=True).start()
    except RuntimeError as error:
        raise Unavailable(f"the machine has no room for another thread: {error}") from error
    return await outcome


class _Turns:
    """Of one loop and kind: who may begin, and how many have not returned for long."""

    def __init__(self, at_once: int) -> None:
        self.free = asyncio.Semaphore(at_once)
        self.late = 0

    def returned(self, running: asyncio.Future[Any]) -> None:
        """One that was late; who asked for it may have left."""
        self.late -= 1
        if not running.cancelled():
            running.exception()


_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Pool, _Turns]] = WeakKeyDictionary()


async def _in_turn(call: Callable[[], T], pool: Pool) -> T:
    """Run `call` aside, when it is its turn. Raises Unavailable when too many do not return."""
    kind = _KINDS[pool]
    turns = _turns.setdefault(asyncio.get_running_loop(), {}).setdefault(pool, _Turns(kind.at_once))
    async with turns.free:
        if turns.late >= _MOST_LATE:
            raise Unavailable(f"{_MOST_LATE} {kind.what} do not return")
        running = asyncio.ensure_future(aside(call))
        try:
            await asyncio.wait([running], timeout=kind.late_s)
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
