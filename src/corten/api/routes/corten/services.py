"""GET /corten/services: services with virtual addresses, which are not a swarm's (`/services`). Daemon only."""

from __future__ import annotations

from corten.api.routing import Request, Response, json_response, route
from corten.api.services import Services


@route("GET", "/corten/services")
async def list_services(request: Request, services: Services) -> Response:
    """All of them that the filters let through."""
    return json_response(await services.networks.services.list_(request.query.filters()))


@route("GET", "/corten/services/{name:path}")
async def inspect_service(request: Request, services: Services) -> Response:
    """One by name, `network/name` or id."""
    return json_response(await services.networks.services.inspect(request.params["name"]))
