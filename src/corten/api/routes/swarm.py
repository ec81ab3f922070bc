"""The cluster endpoints, which Corten does not serve: each answers as a Docker that is in no swarm does (503)."""

from __future__ import annotations

from corten.api.routing import Request, Response, route
from corten.api.services import Services
from corten.errors import NotImplemented as NotOffered
from corten.errors import Unavailable

_NO_MANAGER = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm '
    "and try again."
)
_NO_SWARM = "This node is not part of a swarm"


@route("GET", "/swarm")
@route("GET", "/swarm/unlockkey")
@route("POST", "/swarm/update")
@route("GET", "/nodes")
@route("GET", "/nodes/{id}")
@route("DELETE", "/nodes/{id}")
@route("POST", "/nodes/{id}/update")
@route("GET", "/services")
@route("POST", "/services/create")
@route("GET", "/services/{id}")
@route("DELETE", "/services/{id}")
@route("POST", "/services/{id}/update")
@route("GET", "/services/{id}/logs")
@route("GET", "/tasks")
@route("GET", "/tasks/{id}")
@route("GET", "/tasks/{id}/logs")
@route("GET", "/secrets")
@route("POST", "/secrets/create")
@route("GET", "/secrets/{id}")
@route("DELETE", "/secrets/{id}")
@route("POST", "/secrets/{id}/update")
@route("GET", "/configs")
@route("POST", "/configs/create")
@route("GET", "/configs/{id}")
@route("DELETE", "/configs/{id}")
@route("POST", "/configs/{id}/update")
async def not_a_manager(request: Request, services: Services) -> Response:  # noqa: ARG001 - the form of a handler
    """There is no swarm."""
    raise Unavailable(_NO_MANAGER)


@route("POST", "/swarm/leave")
@route("POST", "/swarm/unlock")
async def not_in_swarm(request: Request, services: Services) -> Response:  # noqa: ARG001 - the form of a handler
    """There is nothing to leave."""
    raise Unavailable(_NO_SWARM)


@route("POST", "/swarm/init")
@route("POST", "/swarm/join")
async def no_swarm_mode(request: Request, services: Services) -> Response:  # noqa: ARG001 - the form of a handler
    """Corten runs containers on one host."""
    raise NotOffered("swarm mode is not supported: Corten runs containers on one host")
