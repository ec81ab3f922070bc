"""POST /exec/{id}/start. Docker Engine API, operation ExecStart."""

from __future__ import annotations

from corten.api.routes.containers.attach import stream_type
from corten.api.routing import Hijacked, Request, Response, empty, hijacked, route
from corten.api.services import Services
from corten.spec.docker.exec import ExecStartRequest


@route("POST", "/exec/{id}/start")
async def exec_start(request: Request, services: Services) -> Response:
    """Run it; unless detached, the connection becomes its streams."""
    wanted = await request.optional_json(ExecStartRequest) or ExecStartRequest()
    exec_id = request.params["id"]
    tty = services.execs.is_tty(exec_id)
    edges = wanted.console_size
    size = (edges[1], edges[0]) if edges and len(edges) == 2 else None
    if wanted.detach:
        await services.execs.start(exec_id, detach=True, hijack=None, size=size)
        return empty(200)
    headers = stream_type(request, tty=tty)

    async def take() -> Hijacked:
        return await request.connection.hijack(content_type=headers)

    await services.execs.start(exec_id, detach=False, hijack=take, size=size)
    return hijacked()
