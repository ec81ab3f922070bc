"""GET /networks/{id}. Daemon only."""

from __future__ import annotations

from corten.api.routing import Request, Response, json_response, route
from corten.api.services import Services
from corten.engine.networks.registry import NetworkNotFound


@route("GET", "/networks/{id}")
async def network_inspect(request: Request, services: Services) -> Response:
    """One network. `verbose` changes nothing for local networks; any other `scope` has none."""
    reference = request.params["id"]
    if request.query.text("scope", "local") not in ("", "local"):
        raise NetworkNotFound(f"network {reference} not found")
    return json_response(services.networks.catalog.inspect(reference))
