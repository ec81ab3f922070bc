"""Below /corten/images/: the tree of an image, the difference of two, images mounted on the machine. Daemon only."""

from __future__ import annotations

from corten.api.routing import Request, Response, json_response, route
from corten.api.services import Services
from corten.errors import InvalidArgument
from corten.spec.corten.image import MountRequest, UnmountRequest


@route("GET", "/corten/images/diff")
async def image_diff(request: Request, services: Services) -> Response:
    """What differs between the images `old` and `new`."""
    old, new = request.query.text("old"), request.query.text("new")
    if not old or not new:
        raise InvalidArgument("two images are needed: old and new")
    return json_response(await services.insight.diff(old, new))


@route("GET", "/corten/images/mounts")
async def image_mounts(_request: Request, services: Services) -> Response:
    """The images that are mounted."""
    return json_response(services.mounts.list_())


@route("POST", "/corten/images/unmount")
async def image_unmount(request: Request, services: Services) -> Response:
    """Unmount a directory, or an image wherever it is mounted."""
    asked = await request.json(UnmountRequest)
    return json_response(await services.mounts.unmount(asked.target, force=asked.force))


@route("POST", "/corten/images/{name:path}/mount")
async def image_mount(request: Request, services: Services) -> Response:
    """Mount an image at a directory of the machine, read-only."""
    asked = await request.optional_json(MountRequest) or MountRequest()
    return json_response(await services.mounts.mount(request.params["name"], asked.target), 201)


@route("GET", "/corten/images/{name:path}/tree")
async def image_tree(request: Request, services: Services) -> Response:
    """The documents and blobs of an image."""
    return json_response(await services.insight.tree(request.params["name"]))
