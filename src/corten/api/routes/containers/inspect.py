"""GET /containers/{id}/json. Docker Engine API, operation ContainerInspect."""

from __future__ import annotations

from corten.api.routing import Request, Response, json_response, route
from corten.api.services import Services


@route("GET", "/containers/{id}/json")
async def container_inspect(request: Request, services: Services) -> Response:
    """Everything about one container."""
    return json_response(await services.containers.inspect(request.params["id"], size=request.query.flag("size")))
