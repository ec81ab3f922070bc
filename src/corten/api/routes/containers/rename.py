"""POST /containers/{id}/rename. Docker Engine API, operation ContainerRename."""

from __future__ import annotations

from corten.api.routing import Request, Response, empty, route
from corten.api.services import Services


@route("POST", "/containers/{id}/rename")
async def container_rename(request: Request, services: Services) -> Response:
    """Give it another name."""
    await services.containers.rename(request.params["id"], request.query.text("name"))
    return empty(204)
