"""POST /networks/{id}/disconnect. Daemon only."""

from __future__ import annotations

from corten.api.routing import Request, Response, empty, route
from corten.api.services import Services
from corten.spec.docker.network import NetworkDisconnectRequest


@route("POST", "/networks/{id}/disconnect")
async def network_disconnect(request: Request, services: Services) -> Response:
    """Take a container out of a network."""
    body = await request.json(NetworkDisconnectRequest)
    await services.networks.disconnect(request.params["id"], body.container, force=body.force)
    return empty(200)
