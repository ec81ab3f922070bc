"""GET /images/search. Daemon only."""

from __future__ import annotations

from corten.api.registry_auth import registry_auth
from corten.api.routing import Request, Response, json_response, route
from corten.api.services import Services
from corten.engine.images.filters import flag_filter
from corten.errors import InvalidArgument

_FILTERS = frozenset({"is-official", "is-automated", "stars"})


@route("GET", "/images/search")
async def image_search(request: Request, services: Services) -> Response:
    """Images by name, where a registry offers a search."""
    query = request.query
    filters = query.filters(_FILTERS)
    try:
        limit = query.number("limit", 25) or 25
    except InvalidArgument as error:
        raise InvalidArgument(f"invalid limit specified: {error.message}") from None
    rows = await services.transfer.search(query.text("term"), limit=limit, credentials=registry_auth(request))
    official = flag_filter(filters, "is-official")
    automated = flag_filter(filters, "is-automated")
    stars = max((_stars(text) for text in filters.get("stars", ())), default=0)
    return json_response(
        [
            row
            for row in rows
            if row.star_count >= stars
            and (official is None or row.is_official == official)
            and (automated is None or row.is_automated == automated)
        ]
    )


def _stars(text: str) -> int:
    if not text.isdigit() or len(text) > 9:
        raise InvalidArgument(f"invalid filter 'stars={text[:64]}'")
    return int(text)
