"""A small epoll loop: descriptors with callbacks, and timers. Runs in the shim; knows nothing of containers.

Not asyncio: importing that costs 19 MB in every forked shim (docs/performance.md).
"""

from __future__ import annotations

import heapq
import select
import time
from collections.abc import Callable

IN = select.EPOLLIN
OUT = select.EPOLLOUT
GONE = select.EPOLLHUP | select.EPOLLERR

Callback = Callable[[int], None]


class Reactor:
    """Level-triggered callbacks by descriptor. A descriptor must be forgotten before it is closed."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callback] = {}
        self._masks: dict[int, int] = {}
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def watch(self, fd: int, mask: int, callback: Callback) -> None:
        """Call `callback(events)` when `fd` has one of `mask`, hang-up or error; replaces an earlier watch."""
        if fd not in self._masks:
            self._epoll.register(fd, mask)
        elif self._masks[fd] != mask:
            self._epoll.modify(fd, mask)
        self._masks[fd] = mask
        self._callbacks[fd] = callback

    def forget(self, fd: int) -> None:
        """Stop watching; idempotent."""
        if self._masks.pop(fd, None) is not None:
            del self._callbacks[fd]
            self._epoll.unregister(fd)

    def after(self, seconds: float, callback: Callable[[], None]) -> None:
        """Call once after `seconds`."""
        self._count += 1
        heapq.heappush(self._timers, (time.monotonic() + seconds, self._count, callback))

    def run_once(self) -> None:
        """Wait for something and call what is due."""
        timeout = max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else -1
        for fd, events in self._epoll.poll(timeout):
            callback = self._callbacks.get(fd)  # an earlier callback of this round may have forgotten it
            if callback is not None:
                callback(events)
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            heapq.heappop(self._timers)[2]()

    def close(self) -> None:
        """Close the epoll descriptor."""
        self._epoll.close()
