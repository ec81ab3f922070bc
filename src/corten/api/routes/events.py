"""GET /events: past events of the ring, then live ones, one JSON object a line. Docker Engine API, SystemEvents."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from corten.api.routing import Request, Response, route, stream_response
from corten.api.services import Services
from corten.engine.event_filter import EventFilter
from corten.engine.events import Event, Events
from corten.lib import codec
from corten.lib.timestamps import parse_timestamp
from corten.spec.docker.system import event_message


@route("GET", "/events")
async def system_events(request: Request, services: Services) -> Response:
    """Events since `since` until `until`; without `until` for ever."""
    chosen = EventFilter(request.query.filters())
    now = time.time_ns()
    since = parse_timestamp(request.query.text("since"), now)
    until = parse_timestamp(request.query.text("until"), now)
    # Subscribed before the headers go out: a client may act as soon as it has them.
    live = services.events.subscribe()
    return stream_response(_stream(services.events, live, chosen, since, until))


async def _stream(
    events: Events, live: asyncio.Queue[Event], chosen: EventFilter, since: int | None, until: int | None
) -> AsyncIterator[bytes]:
    try:
        replayed = events.past() if since is not None or until is not None else []
        for event in replayed:
            if _within(event, since, until) and chosen.matches(event):
                yield _line(event)
        # Those between the subscription and the replay were in the ring, too.
        last = replayed[-1].time_ns if replayed else 0
        async for event in _until(live, until):
            if event.time_ns > last and chosen.matches(event):
                yield _line(event)
    finally:
        events.unsubscribe(live)


async def _until(live: asyncio.Queue[Event], until: int | None) -> AsyncIterator[Event]:
    while True:
        wait = None if until is None else (until - time.time_ns()) / 1e9
        if wait is not None and wait <= 0:
            return
        try:
            event = await asyncio.wait_for(live.get(), wait)
        except TimeoutError:
            return
        if _within(event, None, until):
            yield event


def _within(event: Event, since: int | None, until: int | None) -> bool:
    return (since is None or event.time_ns >= since) and (until is None or event.time_ns <= until)


def _line(event: Event) -> bytes:
    return codec.encode(event_message(event.kind, event.action, event.actor, event.attributes, event.time_ns)) + b"\n"
