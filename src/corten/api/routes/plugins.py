"""The managed-plugin endpoints: there are none, and none can be installed."""

from __future__ import annotations

from corten.api.routing import Request, Response, json_response, route
from corten.api.services import Services
from corten.errors import NotFound
from corten.errors import NotImplemented as NotOffered


@route("GET", "/plugins")
async def plugin_list(request: Request, services: Services) -> Response:  # noqa: ARG001 - the form of a handler
    """No plugins."""
    return json_response([])


@route("GET", "/plugins/{name:path}/json")
@route("DELETE", "/plugins/{name:path}")
@route("POST", "/plugins/{name:path}/enable")
@route("POST", "/plugins/{name:path}/disable")
@route("POST", "/plugins/{name:path}/push")
@route("POST", "/plugins/{name:path}/set")
@route("POST", "/plugins/{name:path}/upgrade")
async def plugin_unknown(request: Request, services: Services) -> Response:  # noqa: ARG001 - the form of a handler
    """No plugin has any name."""
    raise NotFound(f'plugin "{request.params["name"]}" not found')


@route("GET", "/plugins/privileges")
@route("POST", "/plugins/pull")
@route("POST", "/plugins/create")
async def plugin_install(request: Request, services: Services) -> Response:  # noqa: ARG001 - the form of a handler
    """Managed plugins are not offered."""
    raise NotOffered("managed plugins are not supported")
