"""POST /images/{name}/tag. Daemon only."""

from __future__ import annotations

from corten.api.routing import Request, Response, empty, route
from corten.api.services import Services


@route("POST", "/images/{name:path}/tag")
async def image_tag(request: Request, services: Services) -> Response:
    """Give the image another name."""
    query = request.query
    await services.images.tag(request.params["name"], query.text("repo"), query.text("tag"))
    return empty(201)
