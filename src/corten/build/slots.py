"""How many steps run at once in the daemon, shared by all builds fairly. Daemon's loop.

Each running build may run one step in any case, so that none waits for the others' long commands; what is above that is
shared, and goes to the build that runs the fewest. Builds beyond `builds` wait in line: each one needs memory.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Slots:
    """One a daemon."""

    def __init__(self, *, steps: int, builds: int) -> None:
        self._steps = steps
        self._builds = asyncio.Semaphore(builds)
        self._running: Counter[Share] = Counter()
        self._waiting: deque[tuple[Share, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def build(self) -> AsyncIterator[Share]:
        """A build's share, as long as the block; waited for while there are too many builds."""
        async with self._builds:
            yield Share(self)

    async def take(self, share: Share) -> None:
        """Wait for a slot."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((share, future))
        self._serve()
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self.give(share)
            else:
                self._waiting = deque(entry for entry in self._waiting if entry[1] is not future)
            raise

    def give(self, share: Share) -> None:
        """Give a slot back."""
        self._running[share] -= 1
        if not self._running[share]:
            del self._running[share]
        self._serve()

    def _serve(self) -> None:
        while self._waiting:
            number = min(range(len(self._waiting)), key=lambda n: self._running[self._waiting[n][0]])
            share, future = self._waiting[number]
            if self._running[share] and self._running.total() >= self._steps:
                return
            del self._waiting[number]
            if not future.done():
                self._running[share] += 1
                future.set_result(None)


class Share:
    """One build's part."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[Slot]:
        """A slot for the block, or until it is let go."""
        await self._slots.take(self)
        slot = Slot(self._slots, self)
        try:
            yield slot
        finally:
            slot.let_go()


class Slot:
    """Room for one step."""

    def __init__(self, slots: Slots, share: Share) -> None:
        self._slots = slots
        self._share: Share | None = share

    def let_go(self) -> None:
        """Give it back; once."""
        share, self._share = self._share, None
        if share is not None:
            self._slots.give(share)
