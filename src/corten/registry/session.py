"""Requests to one endpoint on behalf of one repository: scheme, authorization, retries, errors. Blocking; net threads.

A session serves all threads of one pull or push. The first 401 tells how to authenticate; its result is used for the
later requests. Transient failures of idempotent requests are repeated with growing, jittered pauses; a registry's
Retry-After is kept to.
"""

from __future__ import annotations

import copy
import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from corten.registry.auth import Challenge, Tokens, error_of, parse_challenges
from corten.registry.cancel import Cancel
from corten.registry.credentials import ANONYMOUS, Credentials
from corten.registry.endpoint import Endpoint
from corten.registry.errors import LoginRequired, RegistryError, RegistryRefused, RegistryUnreachable
from corten.registry.timings import Timings
from corten.registry.transport import Body, Response, Transport

T = TypeVar("T")
_ERROR_BODY = 64 << 10
_OK = frozenset({200})
OnRetry = Callable[[int], None]


@dataclass(slots=True)
class Schemes:
    """Which scheme worked for each insecure endpoint, so that it is found out once."""

    by_endpoint: dict[Endpoint, str] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


def is_transient(error: RegistryError) -> bool:
    """Whether the same request may work in a moment."""
    return isinstance(error, (RegistryUnreachable, RegistryRefused)) and error.transient


def pause_s(attempt: int, timings: Timings, error: RegistryError) -> float:
    """How long to wait before try number `attempt` + 1: doubling, jittered by half, or what the registry asks for."""
    asked = error.retry_after_s if isinstance(error, RegistryRefused) else None
    if asked is not None:
        return asked
    base = min(timings.retry_base_s * 2.0 ** (attempt - 1), timings.retry_cap_s)
    return base * random.uniform(0.5, 1.0)  # noqa: S311 - spreading load, no secret


class Session:
    """One endpoint, one repository, one set of credentials; thread-safe."""

    def __init__(
        self,
        endpoint: Endpoint,
        repository: str,
        *,
        actions: str = "pull",
        credentials: Credentials = ANONYMOUS,
        transport: Transport,
        tokens: Tokens,
        schemes: Schemes,
        cancel: Cancel,
        timings: Timings,
    ) -> None:
        self.endpoint = endpoint
        self.repository = repository
        self.cancel = cancel
        self.timings = timings
        self._scope = f"repository:{repository}:{actions}" if repository else ""
        self._credentials = credentials
        self._transport = transport
        self._tokens = tokens
        self._schemes = schemes
        self._basic = False
        self.whole_uploads = False  # set when the registry has refused chunks

    def also_reading(self, repository: str) -> Session:
        """The same session, whose tokens allow pulls of another repository, too."""
        wider = copy.copy(self)
        wider._scope = f"{self._scope} repository:{repository}:pull"
        return wider

    def url(self, path: str) -> str:
        """The URL of `path` below this repository, with the scheme that is known to work."""
        return self._url(self._schemes.by_endpoint.get(self.endpoint, self.endpoint.schemes[0]), path)

    def _url(self, scheme: str, path: str) -> str:
        return self.endpoint.url(scheme, f"{self.repository}/{path}" if self.repository else path)

    def open(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Body = None,
        ok: frozenset[int] = _OK,
        retry: bool = True,
        authenticate: bool = True,
    ) -> Response:
        """The response to a request on `path` (below the repository, or a whole URL of this endpoint).

        Raises RegistryError for every status outside `ok`. GET and HEAD are repeated when that can help.
        `authenticate=False` leaves a 401 unanswered.
        """

        def once() -> Response:
            return self._once(method, path, dict(headers or {}), body, ok, authenticate=authenticate)

        return self.repeat(once) if retry and method in {"GET", "HEAD"} else once()

    def repeat(
        self, work: Callable[[], T], *, arrived: Callable[[], int] = lambda: 0, on_retry: OnRetry | None = None
    ) -> T:
        """`work()`, repeated after transient errors. Raises the last of them, or Cancelled.

        Tries are counted anew whenever one made `arrived` grow: a transfer that gets on may break off often.
        """
        failures = 0
        while True:
            before = arrived()
            try:
                return work()
            except RegistryError as error:
                failures = 1 if arrived() > before else failures + 1
                if failures >= self.timings.attempts or not is_transient(error):
                    raise
                delay = pause_s(failures, self.timings, error)
                if on_retry is not None:
                    on_retry(max(round(delay), 1))
                self.cancel.sleep(delay)

    def _once(
        self,
        method: str,
        path: str,
        headers: dict[str, str],
        body: Body,
        ok: frozenset[int],
        *,
        authenticate: bool,
    ) -> Response:
        sent = self._authorization()
        response = self._send(method, path, headers, body, sent)
        # a host that it was redirected to is not told the credentials, whatever it asks for (CVE-2020-15157)
        if response.status == 401 and authenticate and self.endpoint.is_at(response.url):
            header = response.headers.get("WWW-Authenticate", "")
            first = response.body(_ERROR_BODY) if method != "HEAD" else b""
            response.close()
            authorization = self._authenticate(parse_challenges(header), sent, response.url, method, first)
            response = self._send(method, path, headers, body, authorization)
        if response.status in ok:
            return response
        with response:
            content = response.body(_ERROR_BODY) if method != "HEAD" else b""
            if response.status == 401:
                self._tokens.forget(self.endpoint.host, self._credentials, self._scope)
            raise error_of(response.status, content, response.headers.get("Retry-After", ""))

    def _send(self, method: str, path: str, headers: dict[str, str], body: Body, authorization: str) -> Response:
        whole = path.startswith(("http://", "https://"))
        if whole and self.endpoint.verify and path.startswith("http://") and "http" not in self.endpoint.schemes:
            raise RegistryError(f'{method.capitalize()} "{path}": refused to go on without TLS')
        if not whole or self.endpoint.is_at(path):
            headers = {**dict(self.endpoint.headers), **headers}
            if authorization:
                headers["Authorization"] = authorization
        if whole:
            return self._request(method, path, headers, body)
        known = self._schemes.by_endpoint.get(self.endpoint)
        if known is not None or len(self.endpoint.schemes) == 1:
            shown = "" if known else self.endpoint.url(self.endpoint.schemes[0], "")
            response = self._request(method, self.url(path), headers, body, shown=shown)
            self._remember(self.endpoint.schemes[0] if known is None else known)
            return response
        return self._first_contact(method, path, headers, body)

    def _first_contact(self, method: str, path: str, headers: dict[str, str], body: Body) -> Response:
        failure: RegistryUnreachable | None = None
        for scheme in self.endpoint.schemes:
            shown = self.endpoint.url(scheme, "")
            try:
                response = self._request(method, self._url(scheme, path), headers, body, shown=shown)
            except RegistryUnreachable as error:
                if error.speaks_tls:
                    raise
                failure = error
                continue
            self._remember(scheme)
            return response
        assert failure is not None
        raise failure

    def _request(self, method: str, url: str, headers: dict[str, str], body: Body, *, shown: str = "") -> Response:
        return self._transport.request(
            method,
            url,
            endpoint=self.endpoint,
            headers=headers,
            cancel=self.cancel,
            body=body,
            timings=self.timings,
            shown=shown,
        )

    def _remember(self, scheme: str) -> None:
        with self._schemes.lock:
            self._schemes.by_endpoint[self.endpoint] = scheme

    def _authorization(self) -> str:
        if self._credentials.registry_token:
            return f"Bearer {self._credentials.registry_token}"
        if self._basic:
            return self._credentials.basic()
        token = self._tokens.cached(self.endpoint.host, self._credentials, self._scope)
        return f"Bearer {token}" if token else ""

    def _authenticate(self, challenges: list[Challenge], sent: str, url: str, method: str, body: bytes) -> str:
        """What to send instead of `sent`. Raises RegistryError when there is nothing else."""
        for challenge in sorted(challenges, key=lambda c: c.scheme != "bearer"):
            if challenge.scheme == "bearer" and not self._credentials.registry_token:
                self._tokens.forget(self.endpoint.host, self._credentials, self._scope)
                token = self._tokens.fetch(challenge, self.endpoint, self._credentials, self._scope, self.cancel)
                return f"Bearer {token.value}"
            if challenge.scheme == "basic":
                if not self._credentials.username:
                    text = f'{method.capitalize()} "{url}": no basic auth credentials'
                    raise LoginRequired(text, status=401, reason="UNAUTHORIZED")
                self._basic = True
                if sent != self._credentials.basic():
                    return self._credentials.basic()
        raise error_of(401, body)
