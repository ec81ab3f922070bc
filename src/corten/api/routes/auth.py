"""POST /auth: check credentials against a registry. Daemon only; secrets are never logged."""

from __future__ import annotations

from corten.api.routing import Request, Response, json_response, route
from corten.api.services import Services
from corten.registry.credentials import from_auth_config
from corten.spec.docker.image import AuthConfig


@route("POST", "/auth")
async def system_auth(request: Request, services: Services) -> Response:
    """The answer to `docker login`."""
    config = await request.json(AuthConfig)
    status = await services.transfer.login(config.server_address or "", from_auth_config(config))
    return json_response(status)
