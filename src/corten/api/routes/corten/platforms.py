"""GET /corten/platforms: which platforms' programs run here, which Docker's API has no place for. Daemon only."""

from __future__ import annotations

from corten.api.routing import Request, Response, json_response, route
from corten.api.services import Services
from corten.engine.platforms import platforms_here
from corten.lib import blocking


@route("GET", "/corten/platforms")
async def list_platforms(request: Request, services: Services) -> Response:  # noqa: ARG001 - the form of a handler
    """The machine's own first, then those of emulators."""
    return json_response({"Platforms": await blocking.run(platforms_here)})
