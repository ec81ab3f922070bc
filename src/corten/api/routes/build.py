"""/build and what belongs to it: the classic builder's API. Docker Engine API: ImageBuild, BuildPrune.

BuildKit's own API is in buildkit.py; builds of its kind over POST /build (`version=2`), which old clients started so,
are refused.
"""

from __future__ import annotations

from corten.api.progress import progress_response
from corten.api.routing import Request, Response, empty, json_response, route
from corten.api.services import Services
from corten.build.cache_pruning import FILTERS, Wish
from corten.engine.images.filters import until_s

_NANO = 1_000_000_000


@route("POST", "/build")
async def image_build(request: Request, services: Services) -> Response:
    """Build the body, a tar. What fails in a step is the stream's last message."""
    from corten.api.build_options import build_options

    options = build_options(request)
    return await progress_response(services.builds.classic.build(options, request.connection.body()))


@route("POST", "/build/prune", since="1.31")
async def build_prune(request: Request, services: Services) -> Response:
    """Delete from the build cache."""
    query = request.query
    filters = query.filters(FILTERS)
    ages = {"until": [*filters.pop("until", []), *filters.pop("unused-for", [])]}
    before_s = until_s(ages)
    keep = max(query.number(name, 0) or 0 for name in ("keep-storage", "reserved-space", "max-used-space"))
    wish = Wish(
        everything=query.flag("all"),
        keep_bytes=keep,
        before_ns=None if before_s is None else int(before_s * _NANO),
        filters=filters,
    )
    return json_response(await services.builds.cache.prune(wish))


@route("POST", "/build/cancel", since="1.31")
async def build_cancel(request: Request, services: Services) -> Response:  # noqa: ARG001 - the form of a handler
    """No BuildKit build runs; one of the classic API ends when its client goes away."""
    return empty(204)
