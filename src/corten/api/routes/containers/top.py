"""GET /containers/{id}/top. Docker Engine API, operation ContainerTop."""

from __future__ import annotations

from corten.api.routing import Request, Response, json_response, route
from corten.api.services import Services


@route("GET", "/containers/{id}/top")
async def container_top(request: Request, services: Services) -> Response:
    """The container's processes; `ps_args` are ps(1)'s."""
    return json_response(await services.stats.top(request.params["id"], request.query.text("ps_args") or "-ef"))
