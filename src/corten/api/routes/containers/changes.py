"""GET /containers/{id}/changes. Docker Engine API, operation ContainerChanges."""

from __future__ import annotations

from corten.api.routing import Request, Response, json_response, route
from corten.api.services import Services


@route("GET", "/containers/{id}/changes")
async def container_changes(request: Request, services: Services) -> Response:
    """What the container has changed of its image's files."""
    return json_response(await services.changes.list_(request.params["id"]))
