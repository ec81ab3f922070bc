"""POST /containers/{id}/exec. Docker Engine API, operation ContainerExec."""

from __future__ import annotations

from corten.api.routing import Request, Response, json_response, route
from corten.api.services import Services
from corten.spec.docker.exec import ExecCreateRequest, ExecCreateResponse


@route("POST", "/containers/{id}/exec")
async def container_exec(request: Request, services: Services) -> Response:
    """A new exec instance."""
    wanted = await request.json(ExecCreateRequest)
    return json_response(ExecCreateResponse(id=services.execs.create(request.params["id"], wanted)), 201)
