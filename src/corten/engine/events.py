"""The engine's event bus: typed events, a ring of the last 256, subscribers that never block a producer. Daemon only.

Other services subscribe (health, restart, the /events stream); the one that acts only publishes. A subscriber's
buffer holds 1024 events; when it is full the oldest are dropped for that subscriber, as moby does.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

_RING = 256
_BUFFER = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened: `kind` is container, image, volume, network or daemon; `action` Docker's word."""

    kind: str
    action: str
    actor: str
    attributes: dict[str, str] = field(default_factory=dict)
    time_ns: int = field(default_factory=time.time_ns)


class Events:
    """Publish and subscribe, on the daemon's loop."""

    def __init__(self) -> None:
        self._ring: deque[Event] = deque(maxlen=_RING)
        self._streams: set[asyncio.Queue[Event]] = set()
        self._listeners: list[Callable[[Event], None]] = []

    def publish(self, kind: str, action: str, actor: str, attributes: dict[str, str] | None = None) -> None:
        """Record and deliver an event; returns at once."""
        event = Event(kind=kind, action=action, actor=actor, attributes=attributes or {})
        self._ring.append(event)
        for listener in self._listeners:
            listener(event)
        for queue in self._streams:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(event)

    def listen(self, listener: Callable[[Event], None]) -> None:
        """Call `listener` for each later event, synchronously: it must be quick and must not raise."""
        self._listeners.append(listener)

    def past(self) -> list[Event]:
        """The last events, oldest first."""
        return list(self._ring)

    def subscribe(self) -> asyncio.Queue[Event]:
        """A queue that gets every event from now on, until `unsubscribe`."""
        queue: asyncio.Queue[Event] = asyncio.Queue(_BUFFER)
        self._streams.add(queue)
        return queue

    def unsubscribe(self, queue: asyncio.Queue[Event]) -> None:
        """No more events for this queue."""
        self._streams.discard(queue)

    @property
    def subscribers(self) -> int:
        """How many queues are fed, for `info`."""
        return len(self._streams)

    async def stream(self) -> AsyncIterator[Event]:
        """Later events, in order, until the iterator is closed."""
        queue = self.subscribe()
        try:
            while True:
                yield await queue.get()
        finally:
            self.unsubscribe(queue)
