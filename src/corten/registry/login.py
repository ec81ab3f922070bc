"""Checking credentials against a registry, for `docker login`. Blocking; net threads.

Source: distribution's token specification; a refresh token that the token server hands out is returned as Docker's
identity token, so that clients need not keep the password.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from corten.errors import FailedPrecondition, Unauthorized
from corten.registry.auth import parse_challenges
from corten.registry.cancel import Cancel
from corten.registry.client import RegistryClient
from corten.registry.credentials import ANONYMOUS, Credentials
from corten.registry.endpoints import HUB_INDEX, upstream
from corten.registry.errors import LoginRequired
from corten.registry.session import Session
from corten.registry.transport import Response
from corten.spec.reference import DEFAULT_DOMAIN


def login(client: RegistryClient, server: str, credentials: Credentials, cancel: Cancel) -> str:
    """Check the credentials at `server` (empty for Docker Hub); the identity token, or an empty text.

    Raises Unauthorized when they are wrong, RegistryError when the registry cannot be asked.
    """
    domain = domain_of(server)
    endpoint = upstream(domain, client.config)
    anonymous = client.session(endpoint, "", credentials=ANONYMOUS, cancel=cancel)
    refresh = ""
    with _ping(anonymous) as response:
        challenges = parse_challenges(response.headers.get("WWW-Authenticate", ""))
        url, status = response.url, response.status
        response.body()
    try:
        bearer = next((c for c in challenges if c.scheme == "bearer"), None)
        if status == 401 and bearer is not None:
            offline = not credentials.identity_token
            token = client.tokens.fetch(bearer, endpoint, credentials, "", cancel, offline=offline)
            refresh = token.refresh
        session = client.session(endpoint, "", credentials=credentials, cancel=cancel)
        with session.open("GET", "") as response:
            response.body()
    except LoginRequired as error:
        raise Unauthorized(f'Get "{url}": {error.message}') from error
    if status != 401 and not challenges and credentials:
        return ""  # the registry is open to all: as with Docker, the login succeeds
    return refresh


def domain_of(server: str) -> str:
    """The registry's domain in a server address, which may be a URL. Raises FailedPrecondition."""
    if not server or server == HUB_INDEX:
        return DEFAULT_DOMAIN
    text = server if "://" in server else f"//{server}"
    try:
        host = urlsplit(text).netloc
    except ValueError:
        host = ""
    if not host or "@" in host:
        raise FailedPrecondition(f"invalid registry address {server!r}")
    return DEFAULT_DOMAIN if host in {"index.docker.io", "docker.io", "registry-1.docker.io"} else host


def _ping(session: Session) -> Response:
    return session.open("GET", "", ok=frozenset({200, 401}), authenticate=False)
