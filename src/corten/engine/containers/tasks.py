"""Background work of the container use cases: kept referenced, its failures logged, awaited at shutdown. Daemon."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
_LOG = logging.getLogger("corten.containers")
_SHUTDOWN_S = 10.0


class Tasks:
    """Tasks that nobody awaits at once."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, object], what: str) -> None:
        """Run `work`; a failure is logged with `what`."""
        task = asyncio.ensure_future(work)
        self._running.add(task)
        task.add_done_callback(lambda done: self._ended(done, what))

    def _ended(self, task: asyncio.Task[Any], what: str) -> None:
        self._running.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _LOG.error("%s failed", what, exc_info=task.exception())

    async def shielded(self, work: Coroutine[Any, Any, T]) -> T:
        """Await `work`, which goes on when the awaiting client goes away: a change of state is never left half done."""
        task = asyncio.ensure_future(work)
        self._running.add(task)
        task.add_done_callback(self._forget)
        return await asyncio.shield(task)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # it was raised to whoever awaited, or nobody is left to hear it

    async def settle(self) -> None:
        """Wait, within bounds, until nothing is under way: shutdown, and tests."""
        deadline = asyncio.get_running_loop().time() + _SHUTDOWN_S
        while self._running and (left := deadline - asyncio.get_running_loop().time()) > 0:
            await asyncio.wait(self._running, timeout=left)
