"""POST /networks/create. Daemon only."""

from __future__ import annotations

from corten.api.routing import Request, Response, json_response, route
from corten.api.services import Services
from corten.spec.docker.network import NetworkCreateRequest, NetworkCreateResponse


@route("POST", "/networks/create")
async def network_create(request: Request, services: Services) -> Response:
    """A new network."""
    made = await services.networks.catalog.create(await request.json(NetworkCreateRequest))
    return json_response(NetworkCreateResponse(id=made), status=201)
