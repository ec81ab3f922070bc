"""DELETE /images/{name} and POST /images/prune. Daemon only."""

from __future__ import annotations

from corten.api.platforms import platforms_of
from corten.api.routing import Request, Response, json_response, route
from corten.api.services import Services
from corten.engine.images.filters import PRUNE_FILTERS


@route("DELETE", "/images/{name:path}")
async def image_delete(request: Request, services: Services) -> Response:
    """Untag or delete an image, or take some platforms of it away."""
    query = request.query
    name, force, prune = request.params["name"], query.flag("force"), not query.flag("noprune")
    platforms = platforms_of(query.values("platforms")) if request.version >= (1, 50) else []
    if platforms:
        return json_response(await services.images.remove_platforms(name, platforms, force=force, prune=prune))
    return json_response(await services.images.remove(name, force=force, prune=prune))


@route("POST", "/images/prune", since="1.25")
async def image_prune(request: Request, services: Services) -> Response:
    """Delete images that nothing names or uses."""
    return json_response(await services.images.prune(request.query.filters(PRUNE_FILTERS)))
