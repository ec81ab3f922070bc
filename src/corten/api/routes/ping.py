"""GET and HEAD /_ping: what clients ask first, to learn the API version. Docker Engine API, operation SystemPing."""

from __future__ import annotations

from corten.api.routing import Request, Response, route
from corten.api.services import Services

_HEADERS = {
    "Builder-Version": "2",
    "Swarm": "inactive",
    "Cache-Control": "no-cache, no-store, must-revalidate",
    "Pragma": "no-cache",
}


@route("GET", "/_ping")
@route("HEAD", "/_ping")
async def system_ping(request: Request, services: Services) -> Response:  # noqa: ARG001 - the form of a handler
    """`OK`, and the headers that clients negotiate by."""
    return Response(body=b"OK", content_type="text/plain; charset=utf-8", headers=dict(_HEADERS))
