"""/version, /info and /system/df. Docker Engine API, operations SystemVersion, SystemInfo, SystemDataUsage."""

from __future__ import annotations

from corten.api.routing import Request, Response, json_response, route
from corten.api.services import Services
from corten.errors import InvalidArgument

_DF_TYPES = {"container", "image", "volume", "build-cache"}


@route("GET", "/version")
async def system_version(request: Request, services: Services) -> Response:  # noqa: ARG001 - the form of a handler
    """What answers here."""
    return json_response(services.system.version())


@route("GET", "/info")
async def system_info(request: Request, services: Services) -> Response:  # noqa: ARG001 - the form of a handler
    """The engine and its host."""
    return json_response(await services.system.info())


@route("GET", "/system/df")
async def system_df(request: Request, services: Services) -> Response:
    """Disk usage; `type` may name the kinds of objects that are wanted.

    `all-bytes` is Corten's own, and answered only when it is asked for: it walks all files below the data root.
    """
    types = set(request.query.values("type"))
    unknown = types - _DF_TYPES - {"all-bytes"}
    if unknown:
        raise InvalidArgument(f"unknown object type: {min(unknown)}")
    return json_response(await services.system.disk_usage(types or _DF_TYPES))
