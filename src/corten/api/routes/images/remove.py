"""DELETE /images/{name} and POST /images/prune. Daemon only."""

from __future__ import annotations

from corten.api.routing import Request, Response, json_response, route
from corten.api.services import Services
from corten.engine.images.filters import PRUNE_FILTERS


@route("DELETE", "/images/{name:path}")
async def image_delete(request: Request, services: Services) -> Response:
    """Untag or delete an image."""
    query = request.query
    items = await services.images.remove(
        request.params["name"], force=query.flag("force"), prune=not query.flag("noprune")
    )
    return json_response(items)


@route("POST", "/images/prune", since="1.25")
async def image_prune(request: Request, services: Services) -> Response:
    """Delete images that nothing names or uses."""
    return json_response(await services.images.prune(request.query.filters(PRUNE_FILTERS)))
