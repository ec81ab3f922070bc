"""GET /images/{name}/json and /images/{name}/history. Daemon only."""

from __future__ import annotations

from corten.api.platforms import platform_of
from corten.api.routing import Request, Response, json_response, route
from corten.api.services import Services


@route("GET", "/images/{name:path}/json")
async def image_inspect(request: Request, services: Services) -> Response:
    """Everything about one image."""
    query = request.query
    shown = services.listing.inspect(
        request.params["name"],
        platform=platform_of(query.text("platform")),
        api=request.version,
    )
    if query.flag("manifests") and request.version >= (1, 48):
        shown.manifests = await services.listing.inspect_manifests(request.params["name"])
    return json_response(shown)


@route("GET", "/images/{name:path}/history")
async def image_history(request: Request, services: Services) -> Response:
    """The steps that made the image, newest first."""
    platform = platform_of(request.query.text("platform"))
    return json_response(services.listing.history(request.params["name"], platform=platform))
