"""POST /containers/create. Docker Engine API, operation ContainerCreate."""

from __future__ import annotations

from corten.api.routing import Request, Response, json_response, route
from corten.api.services import Services
from corten.errors import InvalidArgument
from corten.spec.docker import messages
from corten.spec.docker.container import CreateRequest


@route("POST", "/containers/create")
async def container_create(request: Request, services: Services) -> Response:
    """A new container."""
    if not request.headers.get("content-type", "").startswith("application/json"):
        found = request.headers.get("content-type", "")
        if not found:
            raise InvalidArgument("malformed Content-Type header (): mime: no media type")
        raise InvalidArgument(f"unsupported Content-Type header ({found[:64]}): must be 'application/json'")
    wanted = await request.json(CreateRequest)
    if wanted is None:
        raise InvalidArgument(messages.EMPTY_CONFIG)
    created = await services.containers.create(request.query.text("name"), wanted, request.query.text("platform"))
    return json_response(created, 201)
