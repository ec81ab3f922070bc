"""GET /images/{name}/json and /images/{name}/history. Daemon only."""

from __future__ import annotations

from collections.abc import Sequence

from corten.api.routing import Request, Response, json_response, route
from corten.api.services import Services
from corten.lib import codec
from corten.spec.oci_image import PlatformInfo


@route("GET", "/images/{name:path}/json")
async def image_inspect(request: Request, services: Services) -> Response:
    """Everything about one image."""
    query = request.query
    shown = services.images.inspect(
        request.params["name"],
        platform=platform_of(query.text("platform")),
        api=request.version,
    )
    if query.flag("manifests") and request.version >= (1, 48):
        shown.manifests = await services.images.inspect_manifests(request.params["name"])
    return json_response(shown)


@route("GET", "/images/{name:path}/history")
async def image_history(request: Request, services: Services) -> Response:
    """The steps that made the image, newest first."""
    platform = platform_of(request.query.text("platform"))
    return json_response(services.images.history(request.params["name"], platform=platform))


def platform_of(text: str) -> str:
    """A `platform` parameter: JSON of an OCI platform, or `os/arch[/variant]`. Raises InvalidArgument."""
    if not text.startswith("{"):
        return text
    return str(codec.decode(PlatformInfo, text.encode()).to_platform())


def platforms_of(values: Sequence[str]) -> list[str]:
    """A parameter for several platforms: repeated, each as in `platform_of`, or a JSON list of strings of JSON.

    Raises InvalidArgument.
    """
    found: list[str] = []
    for value in values:
        found += codec.decode(list[str], value.encode()) if value.startswith("[") else [value]
    return [platform_of(text) for text in found if text]
