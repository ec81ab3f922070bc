"""The X-Registry-Auth and X-Registry-Config headers, as routes read them. Daemon; the values are never logged."""

from __future__ import annotations

from corten.api.routing import Request
from corten.registry.credentials import Credentials, decode_config_header, decode_header


def registry_config(request: Request) -> dict[str, Credentials]:
    """The credentials of several registries, by host. Raises InvalidArgument."""
    return decode_config_header(request.headers.get("x-registry-config", ""))


def registry_auth(request: Request) -> Credentials:
    """The credentials the client sent along. Raises InvalidArgument."""
    return decode_header(request.headers.get("x-registry-auth", ""))
