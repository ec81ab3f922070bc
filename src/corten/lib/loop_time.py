"""Long work on the loop lets others have their turn by the clock, not by its own steps: a round of the loop costs as
much as many small ones of them. Daemon's loop."""

from __future__ import annotations

import asyncio
import time

_SLICE_S = 0.001


class Slices:
    """The time that one piece of work has had since others last had theirs."""

    def __init__(self) -> None:
        self._begun = time.monotonic()

    async def give_way(self) -> None:
        """Let others have their turn when this one has lasted a millisecond."""
        if time.monotonic() - self._begun >= _SLICE_S:
            await asyncio.sleep(0)
            self._begun = time.monotonic()
