"""POST /containers/{id}/start. Docker Engine API, operation ContainerStart."""

from __future__ import annotations

from corten.api.routing import Request, Response, empty, route
from corten.api.services import Services


@route("POST", "/containers/{id}/start")
async def container_start(request: Request, services: Services) -> Response:
    """204; 304 when it runs already."""
    await services.containers.start(request.params["id"])
    return empty(204)
