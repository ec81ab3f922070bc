"""HTTP to registries: pooled connections by host and TLS settings, proxies, timeouts, redirects. Blocking; net threads.

One request goes out and one response comes back, or an error of `registry.errors` whose text is worded as Go's client
words it, since people search for those. It retries nothing but a pooled connection that the peer had closed; knows
nothing of tokens: `session` does. Credentials never follow a redirect to another host, and a redirect never leads from
HTTPS to HTTP on a verified endpoint.
"""

from __future__ import annotations

import os
import threading
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urljoin, urlsplit

import urllib3
from urllib3 import exceptions

from corten import __version__
from corten.registry.cancel import Cancel
from corten.registry.endpoints import Endpoint
from corten.registry.errors import RegistryError
from corten.registry.failures import is_stale, translate
from corten.registry.tls import tls_context

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_REDIRECT_LIMIT = 10
_BODY_LIMIT = 8 << 20
_POOL_LIMIT = 64
_SENSITIVE = frozenset({"authorization", "cookie"})
Body = bytes | Callable[[], Iterable[bytes]] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """How long to wait for what, in seconds; `stall_s` is for each single read or write."""

    connect_s: float = 15.0
    stall_s: float = 60.0
    retry_base_s: float = 0.5
    retry_cap_s: float = 20.0
    attempts: int = 5


class Response:
    """An answer whose body has not been read yet; a context manager that gives the connection back or closes it."""

    def __init__(self, raw: urllib3.BaseHTTPResponse, url: str, cancel: Cancel) -> None:
        self._raw = raw
        self._cancel = cancel
        self.url = url
        self.status = raw.status
        self.headers: Mapping[str, str] = raw.headers

    def __enter__(self) -> Response:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the connection: reused when the body was read to its end, else closed."""
        with suppress(Exception):  # the peer may have gone: there is nothing left to free then
            if self._raw.status == 204 or self._raw.length_remaining == 0:
                self._raw.drain_conn()
            else:
                self._raw.close()
            self._raw.release_conn()

    def interrupt(self) -> None:
        """Wake a thread that reads the body; for `Cancel`."""
        shutdown = getattr(self._raw, "shutdown", None)
        if shutdown is not None:
            shutdown()

    def chunks(self, size: int = 256 << 10) -> Iterable[bytes]:
        """The body as it arrives, not decoded. Raises RegistryUnreachable (transient) when it breaks off or stalls."""
        with self._cancel.interrupting(self.interrupt):
            while True:
                try:
                    data = self._raw.read1(size, decode_content=False)
                except (exceptions.HTTPError, OSError, ValueError) as error:
                    self._cancel.check()
                    raise translate("Get", self.url, error) from error
                self._cancel.check()
                if not data:
                    return
                yield data

    def body(self, limit: int = _BODY_LIMIT) -> bytes:
        """The whole body. Raises RegistryError above `limit`."""
        data = bytearray()
        for chunk in self.chunks(64 << 10):
            data += chunk
            if len(data) > limit:
                raise RegistryError(f'Get "{self.url}": answer is larger than the limit of {limit} bytes')
        return bytes(data)


class Transport:
    """Connections to all registries of the daemon; thread-safe."""

    def __init__(
        self,
        *,
        certs_dirs: tuple[str, ...] = (),
        timings: Timings | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._certs_dirs = certs_dirs
        self._timings = timings or Timings()
        self._lock = threading.Lock()
        self._pools: dict[tuple[str, bool, str], urllib3.PoolManager] = {}
        self._proxies = _proxies(environ)
        self._no_proxy = environ.get("no_proxy") or environ.get("NO_PROXY") or ""

    def request(
        self,
        method: str,
        url: str,
        *,
        endpoint: Endpoint,
        headers: Mapping[str, str],
        cancel: Cancel,
        body: Body = None,
        timings: Timings | None = None,
        shown: str = "",
    ) -> Response:
        """Send one request and follow its redirects (GET and HEAD only); an error shows the URL `shown` if given.

        Raises RegistryUnreachable.
        """
        timings = timings or self._timings
        current = dict(headers)
        current.setdefault("User-Agent", f"corten/{__version__}")
        for _ in range(_REDIRECT_LIMIT):
            cancel.check()
            response = self._send(method, url, endpoint, current, cancel, body, timings, shown or url)
            shown = ""
            location = response.headers.get("Location")
            if response.status not in _REDIRECTS or not location or method not in {"GET", "HEAD"}:
                return response
            response.close()
            target = urljoin(url, location)
            current = _redirected_headers(url, target, current, verify=endpoint.verify)
            url = target
        raise RegistryError(f'{method.capitalize()} "{url}": stopped after {_REDIRECT_LIMIT} redirects')

    def _send(
        self,
        method: str,
        url: str,
        endpoint: Endpoint,
        headers: dict[str, str],
        cancel: Cancel,
        body: Body,
        timings: Timings,
        shown: str,
    ) -> Response:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise RegistryError(f'{method.capitalize()} "{url}": unsupported protocol scheme "{parts.scheme}"')
        # a host other than the endpoint's own (a redirect, a token server) never profits from "insecure"
        verify = endpoint.verify or parts.hostname != urlsplit(f"//{endpoint.host}").hostname
        pool = self._pool(parts.scheme, parts.netloc, verify=verify)
        timeout = urllib3.Timeout(connect=timings.connect_s, read=timings.stall_s)
        for attempt in (1, 2):
            payload = body() if callable(body) else body
            try:
                raw = pool.request(
                    method,
                    url,
                    body=payload,
                    headers=headers,
                    timeout=timeout,
                    retries=False,
                    redirect=False,
                    preload_content=False,
                    decode_content=False,
                )
                return Response(raw, url, cancel)
            except exceptions.ProtocolError as error:
                # the peer may have closed a kept-alive connection just now: one fresh try, when nothing was sent
                if attempt == 1 and payload is None and is_stale(error):
                    continue
                raise translate(method, shown, error) from error
            except (exceptions.HTTPError, OSError, ValueError) as error:
                cancel.check()
                raise translate(method, shown, error) from error
        raise AssertionError("unreachable")

    def _pool(self, scheme: str, netloc: str, *, verify: bool) -> urllib3.PoolManager:
        proxy = self._proxy_for(scheme, netloc)
        key = (netloc if scheme == "https" else "", verify, proxy)
        with self._lock:
            pool = self._pools.get(key)
            if pool is None:
                if len(self._pools) >= _POOL_LIMIT:
                    self._pools.clear()
                options: dict[str, Any] = {"num_pools": 32, "maxsize": 8, "block": False}
                if scheme == "https":
                    options["ssl_context"] = tls_context(netloc, verify=verify, certs_dirs=self._certs_dirs)
                    if not verify:
                        options["assert_hostname"] = False
                        options["cert_reqs"] = "CERT_NONE"
                        urllib3.disable_warnings(exceptions.InsecureRequestWarning)
                pool = urllib3.ProxyManager(proxy, **options) if proxy else urllib3.PoolManager(**options)
                self._pools[key] = pool
            return pool

    def _proxy_for(self, scheme: str, netloc: str) -> str:
        proxy = self._proxies.get(scheme) or self._proxies.get("all") or ""
        host = netloc.rpartition("@")[2]
        if not proxy or host.startswith(("127.", "localhost", "[::1]")):
            return ""
        bypass = cast("Callable[..., bool]", urllib.request.proxy_bypass_environment)  # type: ignore[attr-defined]
        return "" if bypass(host, {"no": self._no_proxy}) else proxy


def _redirected_headers(source: str, target: str, headers: dict[str, str], *, verify: bool) -> dict[str, str]:
    old, new = urlsplit(source), urlsplit(target)
    if new.scheme not in {"http", "https"}:
        raise RegistryError(f'Get "{source}": redirect to the unsupported protocol scheme "{new.scheme}"')
    if old.scheme == "https" and new.scheme == "http" and verify:
        raise RegistryError(f'Get "{source}": refused a redirect from HTTPS to HTTP')
    if (old.scheme, old.netloc) == (new.scheme, new.netloc):
        return headers
    return {name: value for name, value in headers.items() if name.lower() not in _SENSITIVE}


def _proxies(environ: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for scheme in ("http", "https", "all"):
        value = environ.get(f"{scheme}_proxy") or environ.get(f"{scheme.upper()}_PROXY") or ""
        if value:
            found[scheme] = value if "://" in value else f"http://{value}"
    return found
