"""POST /containers/{id}/update. Docker Engine API, operation ContainerUpdate."""

from __future__ import annotations

from corten.api.routing import Request, Response, json_response, route
from corten.api.services import Services
from corten.spec.docker.hostconfig import UpdateRequest


@route("POST", "/containers/{id}/update")
async def container_update(request: Request, services: Services) -> Response:
    """Change limits and restart policy."""
    asked = await request.json(UpdateRequest)
    return json_response(await services.containers.update(request.params["id"], asked))
