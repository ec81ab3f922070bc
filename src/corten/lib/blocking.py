"""The one crossing from async to blocking code: bounded, named thread pools. Daemon only.

`disk` for file and mount work, `net` for registry transfers (long), `cpu` for hashing and compression, `stream` for
what goes at a client's pace: slow clients must not take the threads that a start needs; `netns` for requests to the
kernel that a running container may hold up, in its own network namespace: no other work waits for them; `build` for the
copies and digests of builds, whose contexts are as large as they like. Work under about a millisecond (a row in SQLite,
a netlink message) may run on the loop itself: a thread hop costs as much.
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

T = TypeVar("T")
Pool = Literal["disk", "net", "cpu", "stream", "netns", "build"]

_SIZES: dict[Pool, int] = {"disk": 16, "net": 16, "cpu": 4, "stream": 64, "netns": 16, "build": 8}
_pools: dict[Pool, ThreadPoolExecutor] = {}


def _pool(name: Pool) -> ThreadPoolExecutor:
    pool = _pools.get(name)
    if pool is None:
        pool = _pools[name] = ThreadPoolExecutor(_SIZES[name], thread_name_prefix=f"corten-{name}")
    return pool


async def run(fn: Callable[..., T], *args: Any, pool: Pool = "disk", **kwargs: Any) -> T:
    """Run blocking `fn` in the named pool and await its result; context variables are carried along."""
    context = contextvars.copy_context()
    call: Callable[[], T] = partial(context.run, partial(fn, *args, **kwargs))
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


def shutdown() -> None:
    """End the pools without waiting for what still runs; for the daemon's last moment."""
    for pool in _pools.values():
        pool.shutdown(wait=False, cancel_futures=True)
    _pools.clear()
