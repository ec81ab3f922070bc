"""POST /images/{name}/push. Daemon only."""

from __future__ import annotations

from corten.api.platforms import platform_of
from corten.api.progress import progress_response
from corten.api.registry_auth import registry_auth
from corten.api.routing import Request, Response, route
from corten.api.services import Services


@route("POST", "/images/{name:path}/push")
async def image_push(request: Request, services: Services) -> Response:
    """Send an image to its registry."""
    messages = services.transfer.push(
        request.params["name"],
        request.query.text("tag"),
        platform=platform_of(request.query.text("platform")),
        credentials=registry_auth(request),
    )
    return await progress_response(messages)
