"""GET /containers/{id}/export. Docker Engine API, operation ContainerExport."""

from __future__ import annotations

from corten.api.routing import Request, Response, route, stream_response
from corten.api.services import Services


@route("GET", "/containers/{id}/export")
async def container_export(request: Request, services: Services) -> Response:
    """The whole root file system as a tar."""
    return stream_response(await services.exports.export(request.params["id"]), "application/x-tar")
