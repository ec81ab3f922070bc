"""GET /images/json. Daemon only."""

from __future__ import annotations

from corten.api.routing import Request, Response, json_response, route
from corten.api.services import Services
from corten.engine.images.filters import LIST_FILTERS


@route("GET", "/images/json")
async def image_list(request: Request, services: Services) -> Response:
    """The images here, newest first."""
    query = request.query
    filters = query.filters(LIST_FILTERS)
    if query.text("filter") and request.version < (1, 41):
        filters.setdefault("reference", []).append(query.text("filter"))
    rows = services.listing.summaries(
        filters,
        show_all=query.flag("all"),
        shared_size=query.flag("shared-size"),
        api=request.version,
    )
    if query.flag("manifests") and request.version >= (1, 47):
        await services.listing.with_manifests(rows)
    return json_response(rows)
