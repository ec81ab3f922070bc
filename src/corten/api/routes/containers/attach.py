"""POST /containers/{id}/attach and resize. Docker Engine API, operations ContainerAttach, ContainerResize."""

from __future__ import annotations

from corten.api.routing import Hijacked, Request, Response, empty, hijacked, route
from corten.api.services import Services
from corten.engine.containers.attach import AttachOptions

RAW = "application/vnd.docker.raw-stream"
MULTIPLEXED = "application/vnd.docker.multiplexed-stream"


def stream_type(request: Request, *, tty: bool) -> str:
    """The media type of a hijacked stream: that of frames only where the client asked to upgrade (API 1.42)."""
    upgrade = request.headers.get("upgrade", "")
    return MULTIPLEXED if upgrade and not tty and request.version >= (1, 42) else RAW


@route("POST", "/containers/{id}/attach")
async def container_attach(request: Request, services: Services) -> Response:
    """Take the connection over; a container that does not run yet is attached to when it starts."""
    await request.connection.read_body()
    reference, query = request.params["id"], request.query
    tty = services.attach.is_tty(reference)
    options = AttachOptions(
        stdin=query.flag("stdin"),
        stdout=query.flag("stdout"),
        stderr=query.flag("stderr"),
        stream=query.flag("stream"),
        logs=query.flag("logs"),
        detach_keys=query.text("detachKeys"),
    )

    async def take() -> Hijacked:
        return await request.connection.hijack(content_type=stream_type(request, tty=tty))

    await services.attach.attach(reference, options, take)
    return hijacked()


@route("POST", "/containers/{id}/resize")
async def container_resize(request: Request, services: Services) -> Response:
    """Set the terminal's size."""
    await services.attach.resize(request.params["id"], request.query.number("w") or 0, request.query.number("h") or 0)
    return empty(200)
