"""Progress of long work as messages: from threads and tasks into one bounded stream for a client. Daemon's loop.

What is only a newer number for the same line is dropped when it comes too often or the client reads too slowly; words
(`Pull complete`, `Digest: ...`) never are. When the client goes away, the work is cancelled and awaited.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable
from contextlib import aclosing, suppress
from functools import partial
from typing import Any, TypeVar

from corten.engine.images.settled import settled
from corten.lib import blocking
from corten.lib.blocking import Pool
from corten.registry.cancel import Cancel
from corten.spec.docker.progress import ProgressMessage, layer_progress

T = TypeVar("T")
_INTERVAL_S = 0.1
_BACKLOG = 256


class Progress:
    """The producer's end; `update` may be called from any thread, the rest from the loop."""

    def __init__(self) -> None:
        self.cancel = Cancel()
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[ProgressMessage | None] = asyncio.Queue()
        self._last: dict[str, float] = {}
        self._room = asyncio.Event()
        self._room.set()

    def say(self, message: ProgressMessage) -> None:
        """Send a message that must arrive."""
        self._queue.put_nowait(message)
        if self._queue.qsize() > _BACKLOG:
            self._room.clear()

    async def keep_up(self) -> None:
        """Wait while the client has too much to read: for work that says as much as it likes."""
        await self._room.wait()

    def say_from_thread(self, message: ProgressMessage) -> None:
        """As `say`, from a thread; lost when the loop has ended."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._queue.put_nowait, message)

    def update(self, item: str, text: str, current: int, total: int) -> None:
        """Say how far the line `item` is, at most ten times a second."""
        now = time.monotonic()
        if now - self._last.get(item, 0.0) < _INTERVAL_S or self._queue.qsize() > _BACKLOG:
            return
        self._last[item] = now
        self.say_from_thread(layer_progress(item, text, current, total))

    def reach(self, item: str, text: str, total: int) -> None:
        """Say that the line `item` is at its end; never dropped."""
        self.say(layer_progress(item, text, total, total))

    def end(self) -> None:
        """No more messages."""
        self._queue.put_nowait(None)

    async def messages(self) -> AsyncGenerator[ProgressMessage, None]:
        """What was said, until the end."""
        while (message := await self._queue.get()) is not None:
            if self._queue.qsize() <= _BACKLOG:
                self._room.set()
            yield message


async def run_cancellable(progress: Progress, pool: Pool, fn: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Run `fn` in a thread; when this task is cancelled, tell the thread and wait until it has let go."""
    work = asyncio.ensure_future(blocking.run(partial(fn, *args, **kwargs), pool=pool))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        progress.cancel.set()
        await settled([work])
        raise


async def all_or_none(progress: Progress, works: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run `works` side by side; the first error ends the others, is waited for and raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    except BaseException:
        progress.cancel.set()
        for task in tasks:
            task.cancel()
        await settled(tasks)
        raise


async def stream(work: Callable[[Progress], Awaitable[None]]) -> AsyncGenerator[ProgressMessage, None]:
    """Run `work` and give its messages as they come; its error is raised behind the last of them.

    Closing the iterator cancels the work and waits until its threads have let go.
    """
    progress = Progress()

    async def run() -> None:
        try:
            await work(progress)
        finally:
            progress.end()

    task = asyncio.ensure_future(run())
    try:
        async with aclosing(progress.messages()) as messages:
            async for message in messages:
                yield message
        await task
    finally:
        if not task.done():
            progress.cancel.set()
            task.cancel()
            await settled([task])
