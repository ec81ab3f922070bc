"""GET /images/get, GET /images/{name}/get and POST /images/load. Daemon only."""

from __future__ import annotations

from corten.api.progress import progress_response
from corten.api.routes.images.inspect import platform_of
from corten.api.routing import Request, Response, route, stream_response
from corten.api.services import Services


@route("GET", "/images/get")
async def image_get_all(request: Request, services: Services) -> Response:
    """A tar of several images."""
    names = [name for value in request.query.values("names") for name in value.split(",") if name]
    platform = platform_of(request.query.text("platform"))
    return stream_response(await services.transfer.save(names, platform=platform), "application/x-tar")


@route("GET", "/images/{name:path}/get")
async def image_get(request: Request, services: Services) -> Response:
    """A tar of one image."""
    platform = platform_of(request.query.text("platform"))
    return stream_response(
        await services.transfer.save([request.params["name"]], platform=platform), "application/x-tar"
    )


@route("POST", "/images/load")
async def image_load(request: Request, services: Services) -> Response:
    """Take over the images of a tar."""
    query = request.query
    messages = services.transfer.load(
        request.connection.body(), quiet=query.flag("quiet"), platform=platform_of(query.text("platform"))
    )
    return await progress_response(messages)
