"""POST /containers/{id}/pause and unpause. Docker Engine API, operations ContainerPause, ContainerUnpause."""

from __future__ import annotations

from corten.api.routing import Request, Response, empty, route
from corten.api.services import Services


@route("POST", "/containers/{id}/pause")
async def container_pause(request: Request, services: Services) -> Response:
    """Stop all of its processes where they are."""
    await services.containers.pause(request.params["id"])
    return empty(204)


@route("POST", "/containers/{id}/unpause")
async def container_unpause(request: Request, services: Services) -> Response:
    """Let them go on."""
    await services.containers.unpause(request.params["id"])
    return empty(204)
