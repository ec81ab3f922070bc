"""DELETE /containers/{id}, POST /containers/prune. Docker Engine API, operations ContainerDelete, ContainerPrune."""

from __future__ import annotations

from corten.api.routing import Request, Response, empty, json_response, route
from corten.api.services import Services
from corten.engine.containers.prune import KNOWN


@route("DELETE", "/containers/{id}")
async def container_delete(request: Request, services: Services) -> Response:
    """Remove it; with `force` also while it runs, with `v` with its anonymous volumes."""
    query = request.query
    await services.containers.remove(
        request.params["id"], force=query.flag("force"), volumes=query.flag("v"), link=query.flag("link")
    )
    return empty(204)


@route("POST", "/containers/prune")
async def container_prune(request: Request, services: Services) -> Response:
    """Remove all that do not run."""
    return json_response(await services.containers.prune(request.query.filters(KNOWN)))
