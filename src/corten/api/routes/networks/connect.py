"""POST /networks/{id}/connect. Daemon only."""

from __future__ import annotations

from corten.api.routing import Request, Response, empty, route
from corten.api.services import Services
from corten.spec.docker.network import NetworkConnectRequest


@route("POST", "/networks/{id}/connect")
async def network_connect(request: Request, services: Services) -> Response:
    """Put a container into a network."""
    body = await request.json(NetworkConnectRequest)
    await services.networks.connect(request.params["id"], body.container, body.endpoint_config)
    return empty(200)
