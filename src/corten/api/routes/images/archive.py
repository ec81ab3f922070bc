"""GET /images/get, GET /images/{name}/get and POST /images/load. Daemon only."""

from __future__ import annotations

from corten.api.platforms import platforms_of
from corten.api.progress import progress_response
from corten.api.routing import Request, Response, route, stream_response
from corten.api.services import Services


@route("GET", "/images/get")
async def image_get_all(request: Request, services: Services) -> Response:
    """A tar of several images."""
    names = [name for value in request.query.values("names") for name in value.split(",") if name]
    archive = await services.transfer.save(names, platforms=platforms_of(request.query.values("platform")))
    return stream_response(archive, "application/x-tar")


@route("GET", "/images/{name:path}/get")
async def image_get(request: Request, services: Services) -> Response:
    """A tar of one image."""
    platforms = platforms_of(request.query.values("platform"))
    archive = await services.transfer.save([request.params["name"]], platforms=platforms)
    return stream_response(archive, "application/x-tar")


@route("POST", "/images/load")
async def image_load(request: Request, services: Services) -> Response:
    """Take over the images of a tar."""
    query = request.query
    messages = services.transfer.load(
        request.connection.body(), quiet=query.flag("quiet"), platforms=platforms_of(query.values("platform"))
    )
    return await progress_response(messages)
