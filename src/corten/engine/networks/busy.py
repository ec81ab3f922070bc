"""Waits for a parent link that the container before still has. Daemon only, on the loop.

The kernel tears down a namespace some 20 ms after its last process has ended, and tells nobody when it has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from corten.network.driver import ParentBusy

T = TypeVar("T")
_GIVE_UP_S = 0.5
_FIRST_DELAY_S = 0.005


async def when_free(attempt: Callable[[], T]) -> T:
    """What `attempt` returns; made again while it raises ParentBusy, and has left nothing. Raises the last ParentBusy:
    a second container, which must fail, takes all the time there is."""
    loop = asyncio.get_running_loop()
    deadline, delay = loop.time() + _GIVE_UP_S, _FIRST_DELAY_S
    while True:
        try:
            return attempt()
        except ParentBusy:
            if loop.time() > deadline:
                raise
        await asyncio.sleep(delay)
        delay *= 2  # what was made before the parent was met is unmade each time
