"""GET /distribution/{name}/json: what a registry has under a name. Daemon only."""

from __future__ import annotations

from corten.api.registry_auth import registry_auth
from corten.api.routing import Request, Response, json_response, route
from corten.api.services import Services


@route("GET", "/distribution/{name:path}/json", since="1.30")
async def distribution_inspect(request: Request, services: Services) -> Response:
    """The descriptor and the platforms, without pulling anything."""
    found = await services.transfer.distribution(request.params["name"], credentials=registry_auth(request))
    return json_response(found)
