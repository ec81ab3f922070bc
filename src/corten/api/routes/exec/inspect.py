"""GET /exec/{id}/json, POST /exec/{id}/resize. Docker Engine API, operations ExecInspect, ExecResize."""

from __future__ import annotations

from corten.api.routing import Request, Response, empty, json_response, route
from corten.api.services import Services


@route("GET", "/exec/{id}/json")
async def exec_inspect(request: Request, services: Services) -> Response:
    """What is known of it; its exit code is there once its stream has ended."""
    return json_response(await services.execs.inspect(request.params["id"]))


@route("POST", "/exec/{id}/resize")
async def exec_resize(request: Request, services: Services) -> Response:
    """Set its terminal's size."""
    await services.execs.resize(request.params["id"], request.query.number("w") or 0, request.query.number("h") or 0)
    return empty(200)
