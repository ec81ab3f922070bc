"""DELETE /networks/{id}. Daemon only."""

from __future__ import annotations

from corten.api.routing import Request, Response, empty, route
from corten.api.services import Services


@route("DELETE", "/networks/{id}")
async def network_remove(request: Request, services: Services) -> Response:
    """Delete a network."""
    await services.networks.catalog.remove(request.params["id"])
    return empty(204)
