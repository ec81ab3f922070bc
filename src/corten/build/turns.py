"""Whose turn a piece of work is, when two builds come to it at once: the second waits, unless the first lets go early.

A step whose client has stopped reading may stand still for ever; it lets its turn go, and who waits does the work
itself. Daemon's loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turn:
    """The right to do a piece of work."""

    def __init__(self) -> None:
        self.over = asyncio.Event()

    def let_go(self) -> None:
        """Let others do it; once is enough."""
        self.over.set()


class Turns:
    """All turns, by key; one a daemon."""

    def __init__(self) -> None:
        self._held: dict[str, Turn] = {}

    @asynccontextmanager
    async def hold(self, key: str) -> AsyncIterator[Turn]:
        """The turn for `key`, as long as the block or until it is let go."""
        while (other := self._held.get(key)) is not None and not other.over.is_set():
            await other.over.wait()
        turn = self._held[key] = Turn()
        try:
            yield turn
        finally:
            turn.let_go()
            if self._held.get(key) is turn:
                del self._held[key]
