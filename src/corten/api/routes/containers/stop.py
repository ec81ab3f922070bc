"""POST /containers/{id}/stop, restart and kill. Docker Engine API, operations ContainerStop, -Restart, -Kill."""

from __future__ import annotations

from corten.api.routing import Request, Response, empty, route
from corten.api.services import Services


@route("POST", "/containers/{id}/stop")
async def container_stop(request: Request, services: Services) -> Response:
    """204; 304 when it does not run."""
    query = request.query
    await services.containers.stop(request.params["id"], timeout_s=query.number("t"), signal_name=query.text("signal"))
    return empty(204)


@route("POST", "/containers/{id}/restart")
async def container_restart(request: Request, services: Services) -> Response:
    """Stop if it runs, then start."""
    query = request.query
    await services.containers.restart(
        request.params["id"], timeout_s=query.number("t"), signal_name=query.text("signal")
    )
    return empty(204)


@route("POST", "/containers/{id}/kill")
async def container_kill(request: Request, services: Services) -> Response:
    """Send a signal; SIGKILL when none is named."""
    await services.containers.kill(request.params["id"], request.query.text("signal"))
    return empty(204)
