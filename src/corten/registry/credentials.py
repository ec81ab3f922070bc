"""Credentials as clients hand them over: the X-Registry-Auth header and the body of a login. Pure; daemon.

Clients write the header in base64url or standard base64, padded or not; all are read. Secrets never reach a log or an
error text.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from corten.errors import InvalidArgument
from corten.spec.docker.image import AuthConfig
from corten.spec.reference import DEFAULT_DOMAIN

_LIMIT = 64 << 10
_DOCKER_HUB = "https://index.docker.io/v1/"
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What proves who asks; at most one of the forms is used: registry token, identity token, user and password."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)

    def __bool__(self) -> bool:
        return bool(self.username or self.password or self.identity_token or self.registry_token)

    def basic(self) -> str:
        """The value of a Basic Authorization header."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


ANONYMOUS = Credentials()


def known_as(domain: str) -> list[str]:
    """How clients may call a registry when they send credentials for it."""
    hub = [_DOCKER_HUB] if domain == DEFAULT_DOMAIN else []
    return [domain, f"https://{domain}", *hub]


def decode_header(value: str) -> Credentials:
    """The credentials of an X-Registry-Auth header; none when it is empty. Raises InvalidArgument."""
    return from_auth_config(decode_auth_config(value))


def decode_config_header(value: str) -> dict[str, Credentials]:
    """The credentials of an X-Registry-Config header, by host; none when it is empty. Raises InvalidArgument."""
    found = _decode(value, "X-Registry-Config", dict[str, AuthConfig])
    return {host: from_auth_config(config) for host, config in (found or {}).items()}


def decode_auth_config(value: str) -> AuthConfig:
    """The object in an X-Registry-Auth header. Raises InvalidArgument."""
    return _decode(value, "X-Registry-Auth", AuthConfig) or AuthConfig()


def _decode(value: str, header: str, kind: type[T]) -> T | None:
    if not value:
        return None
    if len(value) > _LIMIT:
        raise InvalidArgument(f"invalid {header} header: too long")
    text = value.strip().rstrip("=").replace("-", "+").replace("_", "/")
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        return msgspec.json.decode(raw, type=kind) if raw.strip() else None
    except (binascii.Error, ValueError, msgspec.DecodeError, RecursionError) as error:
        # the value is a secret: only the kind of failure may be told
        raise InvalidArgument(f"invalid {header} header: it is not base64 of a JSON object") from error


def from_auth_config(config: AuthConfig) -> Credentials:
    """The credentials in `config`; its `auth` field stands for user and password. Raises InvalidArgument."""
    username, password = config.username or "", config.password or ""
    if config.auth and not username:
        try:
            username, _, password = base64.b64decode(config.auth, validate=True).decode().partition(":")
        except (binascii.Error, ValueError) as error:
            raise InvalidArgument("invalid auth configuration: auth is not base64 of user:password") from error
        password = password.rstrip("\0")
    return Credentials(
        username=username,
        password=password,
        identity_token=config.identity_token or "",
        registry_token=config.registry_token or "",
    )
