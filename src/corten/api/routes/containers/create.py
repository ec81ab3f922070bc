"""POST /containers/create. Docker Engine API, operation ContainerCreate."""

from __future__ import annotations

from corten.api.routing import Request, Response, json_response, route
from corten.api.services import Services
from corten.spec.docker.container import CreateRequest


@route("POST", "/containers/create")
async def container_create(request: Request, services: Services) -> Response:
    """A new container."""
    wanted = await request.json(CreateRequest)
    created = await services.containers.create(request.query.text("name"), wanted, request.query.text("platform"))
    return json_response(created, 201)
