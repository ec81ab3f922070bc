"""GET /containers/{id}/logs. Docker Engine API, operation ContainerLogs."""

from __future__ import annotations

import time

from corten.api.routing import Request, Response, route, stream_response
from corten.api.services import Services
from corten.engine.containers.logs import LogRequest
from corten.errors import InvalidArgument
from corten.lib.timestamps import parse_timestamp

RAW = "application/vnd.docker.raw-stream"
MULTIPLEXED = "application/vnd.docker.multiplexed-stream"


@route("GET", "/containers/{id}/logs")
async def container_logs(request: Request, services: Services) -> Response:
    """The log, framed unless the container has a terminal."""
    query = request.query
    now = time.time_ns()
    wanted = LogRequest(
        stdout=query.flag("stdout"),
        stderr=query.flag("stderr"),
        follow=query.flag("follow"),
        timestamps=query.flag("timestamps"),
        details=query.flag("details"),
        tail=_tail(query.text("tail")),
        since_ns=parse_timestamp(query.text("since"), now),
        until_ns=_until(query.text("until"), now),
    )
    if not (wanted.stdout or wanted.stderr):
        raise InvalidArgument("Bad parameters: you must choose at least one stream")
    stream = services.logs.open(request.params["id"], wanted)
    # Before API 1.42 both kinds had one name.
    framed = request.version >= (1, 42) and not services.logs.is_terminal(request.params["id"])
    return stream_response(stream, MULTIPLEXED if framed else RAW)


def _tail(text: str) -> int:
    """A number of lines; "all", nothing and what is no number mean all of them, as in Docker."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1


def _until(text: str, now: int) -> int | None:
    """0 means open, which is what clients send when nobody asked."""
    value = parse_timestamp(text, now)
    return None if value in {0, None} else value
