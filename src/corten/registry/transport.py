"""HTTP to registries: pooled connections by host and TLS settings, proxies, timeouts, redirects. Blocking; net threads.

One request goes out and one response comes back, or an error of `registry.errors` whose text is worded as Go's client
words it, since people search for those. It retries nothing but a pooled connection that the peer had closed; knows
nothing of tokens: `session` does. Credentials never follow a redirect to another host, and a redirect never leads from
HTTPS to HTTP on a verified endpoint.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from urllib.parse import urlsplit

import urllib3
from urllib3 import exceptions

from corten import __version__
from corten.registry.cancel import Cancel
from corten.registry.connections import Connections, cancellable
from corten.registry.endpoint import Endpoint
from corten.registry.errors import RegistryError, RegistryUnreachable
from corten.registry.failures import is_stale, translate
from corten.registry.inward import InwardPolicy
from corten.registry.proxies import Proxies
from corten.registry.timings import Timings
from corten.registry.urls import join, split

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_KEEPING = frozenset({307, 308})
_REDIRECT_LIMIT = 10
_BODY_LIMIT = 8 << 20
_HARMLESS = frozenset(
    {"accept", "accept-encoding", "content-length", "content-range", "content-type", "range", "user-agent"}
)
Body = bytes | Callable[[], Iterable[bytes]] | None


class Response:
    """An answer whose body has not been read yet; a context manager that gives the connection back or closes it."""

    def __init__(self, raw: urllib3.BaseHTTPResponse, url: str, cancel: Cancel, timings: Timings) -> None:
        self._raw = raw
        self._cancel = cancel
        self._timings = timings
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
        waited, came = 0.0, 0
        with self._cancel.interrupting(self.interrupt):
            while True:
                begun = time.monotonic()
                try:
                    data = self._raw.read1(size, decode_content=False)
                except (exceptions.HTTPError, OSError, ValueError) as error:
                    self._cancel.check()
                    raise translate("Get", self.url, error) from error
                self._cancel.check()
                if not data:
                    return
                # only the wait counts: who takes the bytes may be slow, too
                waited, came = waited + time.monotonic() - begun, came + len(data)
                if waited >= self._timings.stall_s:
                    if came < waited * self._timings.floor_bytes:
                        text = f'Get "{self.url}": only {came} bytes in {waited:.0f} s'
                        raise RegistryUnreachable(text, transient=True)
                    waited, came = 0.0, 0
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
        proxies: Proxies | None = None,
        policy: InwardPolicy | None = None,
    ) -> None:
        self._timings = timings or Timings()
        self._connections = Connections(certs_dirs, proxies or Proxies(), policy)

    def close(self) -> None:
        """End the connections that nobody uses."""
        self._connections.close()

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
        """Send one request and follow its redirects; an error shows the URL `shown` if given.

        What sends something follows only those that keep method and body (307, 308). Raises RegistryUnreachable.
        """
        timings = timings or self._timings
        current = dict(headers)
        current.setdefault("User-Agent", f"corten/{__version__}")
        for _ in range(_REDIRECT_LIMIT):
            cancel.check()
            response = self._send(method, url, endpoint, current, cancel, body, timings, shown or url)
            shown = ""
            location = response.headers.get("Location")
            followed = _REDIRECTS if method in {"GET", "HEAD"} else _KEEPING
            if response.status not in followed or not location:
                return response
            response.close()
            target = join(url, location)
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
        parts = split(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise RegistryError(f'{method.capitalize()} "{url}": unsupported protocol scheme "{parts.scheme}"')
        pool = self._connections.pool(parts.scheme, parts.netloc, endpoint)
        timeout = urllib3.Timeout(connect=timings.connect_s, read=timings.stall_s)
        for attempt in (1, 2):
            payload = body() if callable(body) else body
            try:
                with cancellable(cancel, timings.stall_s):
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
                return Response(raw, url, cancel, timings)
            except (exceptions.HTTPError, OSError, ValueError) as error:
                cancel.check()
                # the peer may have closed a kept-alive connection just now: one fresh try, when nothing was sent
                if isinstance(error, exceptions.ProtocolError) and attempt == 1 and payload is None and is_stale(error):
                    continue
                raise translate(method, shown, error) from error
        raise AssertionError("unreachable")


def _redirected_headers(source: str, target: str, headers: dict[str, str], *, verify: bool) -> dict[str, str]:
    old, new = urlsplit(source), urlsplit(target)
    if new.scheme not in {"http", "https"}:
        raise RegistryError(f'Get "{source}": redirect to the unsupported protocol scheme "{new.scheme}"')
    if old.scheme == "https" and new.scheme == "http" and verify:
        raise RegistryError(f'Get "{source}": refused a redirect from HTTPS to HTTP')
    if (old.scheme, old.netloc) == (new.scheme, new.netloc):
        return headers
    return {name: value for name, value in headers.items() if name.lower() in _HARMLESS}
