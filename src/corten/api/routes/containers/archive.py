"""GET, HEAD and PUT /containers/{id}/archive. Docker Engine API, operations ContainerArchive*, PutContainerArchive."""

from __future__ import annotations

import base64

from corten.api.routing import Request, Response, empty, route, stream_response
from corten.api.services import Services
from corten.engine.containers.archive import PathStat
from corten.lib import codec


def _stat_header(found: PathStat) -> dict[str, str]:
    return {"X-Docker-Container-Path-Stat": base64.b64encode(codec.encode(found)).decode("ascii")}


@route("HEAD", "/containers/{id}/archive")
async def container_archive_info(request: Request, services: Services) -> Response:
    """What is at a path."""
    found = await services.archive.stat(request.params["id"], request.query.text("path"))
    return Response(status=200, content_type="application/json", headers=_stat_header(found))


@route("GET", "/containers/{id}/archive")
async def container_archive(request: Request, services: Services) -> Response:
    """A path as a tar."""
    found, stream = await services.archive.get(request.params["id"], request.query.text("path"))
    response = stream_response(stream, "application/x-tar")
    response.headers.update(_stat_header(found))
    return response


@route("PUT", "/containers/{id}/archive")
async def put_container_archive(request: Request, services: Services) -> Response:
    """Unpack a tar into a directory."""
    query = request.query
    await services.archive.put(
        request.params["id"],
        query.text("path"),
        request.connection.body(),
        keep_kinds=query.flag("noOverwriteDirNonDir"),
        own=query.flag("copyUIDGID"),
    )
    return empty(200)
