"""GET /networks. Daemon only."""

from __future__ import annotations

from corten.api.routing import Request, Response, json_response, route
from corten.api.services import Services


@route("GET", "/networks")
async def network_list(request: Request, services: Services) -> Response:
    """All networks; the filters are dangling, driver, id, label, name, scope and type."""
    return json_response(services.networks.catalog.list_(request.query.filters()))
