"""POST /networks/prune. Daemon only."""

from __future__ import annotations

from corten.api.routing import Request, Response, json_response, route
from corten.api.services import Services
from corten.spec.docker.network import NetworkPruneResponse


@route("POST", "/networks/prune", since="1.25")
async def network_prune(request: Request, services: Services) -> Response:
    """Delete the networks that no container uses."""
    gone = await services.networks.catalog.prune(request.query.filters())
    return json_response(NetworkPruneResponse(networks_deleted=gone or None))
