"""GET /containers/json. Docker Engine API, operation ContainerList."""

from __future__ import annotations

from corten.api.routing import Request, Response, json_response, route
from corten.api.services import Services
from corten.engine.containers.filters import KNOWN


@route("GET", "/containers/json")
async def container_list(request: Request, services: Services) -> Response:
    """The running containers; with `all`, `limit` or a filter by state the others too."""
    query = request.query
    rows = await services.containers.list_(
        all_=query.flag("all"),
        limit=query.number("limit") or 0,
        size=query.flag("size"),
        filters=query.filters(KNOWN),
    )
    return json_response(rows)
