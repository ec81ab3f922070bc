"""The X-Registry-Auth header, as the routes that need it read it. Daemon only; its value is never logged."""

from __future__ import annotations

from corten.api.routing import Request
from corten.registry.credentials import Credentials, decode_header


def registry_auth(request: Request) -> Credentials:
    """The credentials the client sent along. Raises InvalidArgument."""
    return decode_header(request.headers.get("x-registry-auth", ""))
