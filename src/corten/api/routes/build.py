"""/build and what belongs to it. Images cannot be built by this engine; its build cache is empty.

Docker Engine API, operations ImageBuild, BuildPrune, Session.
"""

from __future__ import annotations

from corten.api.routing import Request, Response, empty, json_response, route
from corten.api.services import Services
from corten.errors import NotImplemented as NotOffered


@route("POST", "/build/prune", since="1.31")
async def build_prune(request: Request, services: Services) -> Response:  # noqa: ARG001 - the form of a handler
    """Nothing to delete (`docker system prune` asks)."""
    return json_response({"CachesDeleted": [], "SpaceReclaimed": 0})


@route("POST", "/build/cancel", since="1.31")
async def build_cancel(request: Request, services: Services) -> Response:  # noqa: ARG001 - the form of a handler
    """No build runs."""
    return empty(204)


@route("POST", "/build")
@route("POST", "/session", since="1.31")
@route("POST", "/grpc", since="1.31")
async def image_build(request: Request, services: Services) -> Response:  # noqa: ARG001 - the form of a handler
    """Not offered."""
    raise NotOffered(
        "building images is not supported by this engine", hint="build elsewhere and pull or load the image"
    )
