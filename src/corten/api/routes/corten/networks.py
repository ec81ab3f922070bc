"""POST /corten/networks/{id}/peers: change the other hosts of a vxlan network. Corten's own. Daemon only."""

from __future__ import annotations

from corten.api.routing import Request, Response, empty, route
from corten.api.services import Services
from corten.spec.corten.network import PeersRequest


@route("POST", "/corten/networks/{id}/peers")
async def network_peers(request: Request, services: Services) -> Response:
    """Some come, some go."""
    asked = await request.json(PeersRequest)
    await services.networks.catalog.update_peers(request.params["id"], add=asked.add, remove=asked.remove)
    return empty(204)
