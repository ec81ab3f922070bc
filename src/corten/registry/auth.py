"""Tokens for registries: what a 401 asks for, how it is got, a cache by scope until it expires. Blocking; net threads.

Source: distribution's token authentication specification ("Token Authentication", "OAuth2 Token Authentication") and
RFC 9110 section 11.6.1 for the challenge's grammar. Passwords go to the token server that the registry names, but
never over HTTP when the registry itself is verified.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlencode

import msgspec

from corten.registry.cancel import Cancel
from corten.registry.credentials import Credentials
from corten.registry.endpoint import Endpoint
from corten.registry.errors import LoginRequired, RegistryError, refused
from corten.registry.transport import Response, Transport
from corten.registry.urls import split

_MARGIN_S = 10.0
_DEFAULT_LIFE_S = 60.0
_LONGEST_LIFE_S = 7 * 24 * 3600.0
_CACHE_LIMIT = 512
_ANSWER_LIMIT = 256 << 10
_CLIENT_ID = "corten"
_SCHEME = re.compile(r"\s*([A-Za-z][A-Za-z0-9-]*)(?=[\s,]|\Z)\s*")
_PARAMETER = re.compile(r'\s*,?\s*([A-Za-z][A-Za-z0-9_-]*)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way of authenticating that a 401 offers; the scheme and the parameters' names are lower-case."""

    scheme: str
    parameters: Mapping[str, str]


class _TokenAnswer(msgspec.Struct):
    token: str | None = None
    access_token: str | None = None
    refresh_token: str | None = None
    expires_in: int | None = None


class _Errors(msgspec.Struct):
    errors: list[dict[str, object]] | None = None
    details: object = None
    message: object = None


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token, and the refresh token that came with it."""

    value: str
    expires_at: float
    refresh: str = ""


class Tokens:
    """The daemon's tokens by registry, credentials and scope; thread-safe, in memory only."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._lock = threading.Lock()
        self._cache: dict[tuple[str, Credentials, str], Token] = {}

    def cached(self, host: str, credentials: Credentials, scope: str) -> str:
        """A token that is still good for `scope` at `host`, or an empty text."""
        with self._lock:
            token = self._cache.get((host, credentials, scope))
        return token.value if token is not None and token.expires_at > time.monotonic() else ""

    def forget(self, host: str, credentials: Credentials, scope: str) -> None:
        """Drop a token that the registry did not take."""
        with self._lock:
            self._cache.pop((host, credentials, scope), None)

    def fetch(
        self,
        challenge: Challenge,
        endpoint: Endpoint,
        credentials: Credentials,
        scope: str,
        cancel: Cancel,
        *,
        offline: bool = False,
    ) -> Token:
        """Ask the challenge's realm for a token. Raises LoginRequired or another RegistryError."""
        realm = challenge.parameters.get("realm", "")
        parts = split(realm)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise RegistryError(f"registry {endpoint.host} names the invalid token server {realm[:200]!r}")
        if parts.scheme == "http" and endpoint.verify:
            raise RegistryError(f"registry {endpoint.host} names the token server {realm[:200]} without TLS")
        fields = {"service": challenge.parameters.get("service", "")}
        scopes = (scope or challenge.parameters.get("scope", "")).split()
        response = self._ask(realm, endpoint, credentials, fields, scopes, cancel, offline=offline)
        with response:
            body = response.body(_ANSWER_LIMIT)
            if response.status != 200:
                raise _token_refused(realm, response.status, body, response.headers.get("Retry-After", ""))
        token = _parse_token(body, endpoint.host)
        with self._lock:
            if len(self._cache) >= _CACHE_LIMIT:
                self._cache.clear()
            self._cache[(endpoint.host, credentials, scope)] = token
        return token

    def _ask(
        self,
        realm: str,
        endpoint: Endpoint,
        credentials: Credentials,
        fields: dict[str, str],
        scopes: list[str],
        cancel: Cancel,
        *,
        offline: bool,
    ) -> Response:
        if credentials.identity_token:
            fields |= {
                "grant_type": "refresh_token",
                "refresh_token": credentials.identity_token,
                "client_id": _CLIENT_ID,
            } | ({"scope": " ".join(scopes)} if scopes else {})
            return self._transport.request(
                "POST",
                realm,
                endpoint=endpoint,
                headers={"Content-Type": "application/x-www-form-urlencoded"},
                cancel=cancel,
                body=urlencode(fields).encode(),
            )
        headers: dict[str, str] = {}
        if credentials.username:
            fields["account"] = credentials.username
            headers["Authorization"] = credentials.basic()
        if offline:
            fields |= {"offline_token": "true", "client_id": _CLIENT_ID}
        query = urlencode([*fields.items(), *(("scope", scope) for scope in scopes)])
        url = f"{realm}{'&' if '?' in realm else '?'}{query}"
        return self._transport.request("GET", url, endpoint=endpoint, headers=headers, cancel=cancel)


def parse_challenges(header: str) -> list[Challenge]:
    """The challenges of a WWW-Authenticate header; what cannot be read is left out."""
    challenges: list[Challenge] = []
    position = 0
    header = header[:8192]
    while match := _SCHEME.match(header, position):
        parameters: dict[str, str] = {}
        position = match.end()
        while parameter := _PARAMETER.match(header, position):
            quoted = parameter.group(2)
            value = parameter.group(3) if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            parameters[parameter.group(1).lower()] = value
            position = parameter.end()
        challenges.append(Challenge(match.group(1).lower(), parameters))
        comma = re.compile(r"\s*,\s*").match(header, position)
        position = comma.end() if comma else position
    return challenges


def error_of(status: int, body: bytes, retry_after: str = "") -> Exception:
    """The error that an error answer's status and body tell of."""
    reason, message = _first_error(body)
    return refused(status, reason, message, retry_after_s(retry_after, datetime.now(UTC)))


def retry_after_s(value: str, now: datetime) -> float | None:
    """The seconds in a Retry-After header, which holds them or a date (RFC 9110 section 10.2.3); None for neither."""
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    if date.tzinfo is None:
        return None
    return max((date - now).total_seconds(), 0.0)


def _first_error(body: bytes) -> tuple[str, str]:
    try:
        document = msgspec.json.decode(body, type=_Errors)
    except (msgspec.DecodeError, RecursionError, ValueError):
        return "", ""
    for entry in document.errors or []:
        reason, message = entry.get("code"), entry.get("message")
        return _clean(reason, 64), _clean(message, 1024)
    return "", _clean(document.details or document.message, 1024)


def _clean(value: object, limit: int) -> str:
    text = value if isinstance(value, str) else ""
    return "".join(c for c in text[:limit] if c.isprintable())


def _token_refused(realm: str, status: int, body: bytes, retry_after: str) -> Exception:
    error = error_of(status, body, retry_after)
    if status == 401 and not isinstance(error, LoginRequired):
        return LoginRequired(str(error), status=401, reason="UNAUTHORIZED")
    if status == 404:  # nothing is said of the image by that
        return RegistryError(f"failed to fetch a token from {realm}: unexpected status: 404")
    return error


def _parse_token(body: bytes, host: str) -> Token:
    try:
        answer = msgspec.json.decode(body, type=_TokenAnswer)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise RegistryError(f"the token server of {host} sent no valid answer") from error
    value = answer.token or answer.access_token or ""
    if not value or any(c in value for c in "\r\n"):
        raise RegistryError(f"authorization server of {host} did not include a token in the response")
    life = float(min(max(answer.expires_in or _DEFAULT_LIFE_S, 0), _LONGEST_LIFE_S))
    expires = time.monotonic() + max(life - min(_MARGIN_S, life / 4), 1.0)
    return Token(value, expires, answer.refresh_token or "")
