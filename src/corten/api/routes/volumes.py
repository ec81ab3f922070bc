"""/volumes: create, list, inspect, remove, prune. Docker Engine API, operations Volume*."""

from __future__ import annotations

from corten.api.routing import Request, Response, empty, json_response, route
from corten.api.services import Services
from corten.errors import NotFound, Unavailable
from corten.spec.docker.volume import VolumeCreateRequest

_LIST_FILTERS = ("dangling", "driver", "label", "name")
_PRUNE_FILTERS = ("all", "label", "label!")


@route("GET", "/volumes")
async def volume_list(request: Request, services: Services) -> Response:
    """All volumes that the filters let through."""
    return json_response(services.volumes.list(request.query.filters(_LIST_FILTERS)))


@route("POST", "/volumes/create")
async def volume_create(request: Request, services: Services) -> Response:
    """A volume; the one of that name if it is there."""
    wanted = await request.json(VolumeCreateRequest)
    return json_response(await services.volumes.create(wanted), 201)


@route("GET", "/volumes/{name}")
async def volume_inspect(request: Request, services: Services) -> Response:
    """One volume."""
    return json_response(services.volumes.inspect(request.params["name"]))


@route("PUT", "/volumes/{name}", since="1.42")
async def volume_update(request: Request, services: Services) -> Response:
    """Only cluster volumes could be updated."""
    services.volumes.inspect(request.params["name"])
    raise Unavailable("This node is not a swarm manager. Only cluster volumes can be updated.")


@route("DELETE", "/volumes/{name}")
async def volume_delete(request: Request, services: Services) -> Response:
    """Remove a volume; with `force` a missing one is no error."""
    force = request.query.flag("force")
    try:
        await services.volumes.remove(request.params["name"], force=force)
    except NotFound:
        if not force:
            raise
    return empty(204)


@route("POST", "/volumes/prune")
async def volume_prune(request: Request, services: Services) -> Response:
    """Remove unused volumes: the anonymous ones; all of them with the filter `all` (always so before API 1.42)."""
    filters = request.query.filters(_PRUNE_FILTERS)
    if request.version < (1, 42):
        filters.setdefault("all", ["true"])
    return json_response(await services.volumes.prune(filters))
