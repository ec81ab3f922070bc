"""The API server: listeners, the way from a request to its handler, deadlines and shutdown. Daemon only, on the loop.

The bytes are connection.py's; what is decided here is which handler runs, for which API version, and how its failure is
told. Unix sockets are trusted as far as their mode lets someone in. On TCP, browsers and rebound DNS names are kept
out: a Host that is no address, no `localhost` and not configured, and requests that a foreign site caused, are refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from corten.api import compat
from corten.api.connection import HttpConnection
from corten.api.errors import error_response, message_response, status_of
from corten.api.head import Head
from corten.api.query import Query
from corten.api.router import Router
from corten.api.routing import Request, Response
from corten.api.services import Services
from corten.errors import Cancelled, InvalidArgument

if TYPE_CHECKING:
    import ssl

    from corten.api.tls import TlsListener

_LOG = logging.getLogger("corten.api")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long a client may take: for a request's head, between pieces of a body, and doing nothing in between."""

    head_s: float = 30.0
    body_s: float = 600.0
    idle_s: float = 600.0
    sweep_s: float = 1.0
    shutdown_s: float = 10.0


class Server:
    """Serves the routes on any number of listening sockets."""

    def __init__(
        self, *, router: Router, services: Services, limits: Limits | None = None, hosts: Collection[str] = ()
    ) -> None:
        self.limits = limits or Limits()
        self.connections: set[HttpConnection] = set()
        self.taken: set[asyncio.Task[None]] = set()  # handlers of hijacked connections, which go on with them
        self.closing = False
        self._router = router
        self._services = services
        self._hosts = {"localhost", *hosts}
        self._listeners: list[asyncio.Server | TlsListener] = []
        self._sweeper: asyncio.TimerHandle | None = None

    # -- listeners

    async def listen(self, sock: socket.socket, *, tls: ssl.SSLContext | None = None) -> None:
        """Serve on a bound socket; it belongs to the server from now on."""
        loop = asyncio.get_running_loop()
        unix = sock.family == socket.AF_UNIX

        def connect() -> HttpConnection:
            return HttpConnection(self, trusted=unix)

        if unix:
            self._listeners.append(await loop.create_unix_server(connect, sock=sock, backlog=512))
        elif tls is None:
            self._listeners.append(await loop.create_server(connect, sock=sock, backlog=512))
        else:
            from corten.api.tls import TlsListener

            self._listeners.append(TlsListener(sock, tls, lambda plain: loop.connect_accepted_socket(connect, plain)))

    def opened(self, connection: HttpConnection) -> None:
        """A client connected. Deadlines are looked at only while there are connections: an idle daemon sleeps."""
        self.connections.add(connection)
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(self.limits.sweep_s, self._sweep)

    def _sweep(self) -> None:
        self._sweeper = None
        now = time.monotonic()
        for connection in list(self.connections):
            connection.check(now)
        if self.connections:
            self._sweeper = asyncio.get_running_loop().call_later(self.limits.sweep_s, self._sweep)

    async def close(self) -> None:
        """Stop listening, cancel what still waits, and close every connection.

        Of hijacked ones only the handlers are ours.
        """
        self.closing = True
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        tasks = [task for connection in self.connections if (task := connection.busy) is not None]
        tasks += [task for task in self.taken if not task.done()]
        for task in self.taken:
            task.cancel()
        for connection in list(self.connections):
            connection.close()
        if tasks:
            await asyncio.wait(tasks, timeout=self.limits.shutdown_s)
        for connection in list(self.connections):
            connection.abort()
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        await asyncio.sleep(0)

    # -- requests

    async def respond(self, head: Head, connection: HttpConnection) -> Response:
        """The answer to one request; never raises but for the cancellation of a client that is gone."""
        started = time.perf_counter()
        try:
            response = await self._handle(head, connection)
        except Cancelled as error:
            response = error_response(error)
        except asyncio.CancelledError as error:
            if connection.gone or not self.closing:
                self._log(head, 499, started)
                raise
            response = error_response(error)
        except Exception as error:
            if connection.gone:
                _LOG.debug("request failed after its client left: %s", error)
                raise asyncio.CancelledError from error
            response = error_response(error)
        self._log(head, response.status, started)
        return response

    async def _handle(self, head: Head, connection: HttpConnection) -> Response:
        try:
            decoded = unquote_to_bytes(head.path).decode("utf-8")
        except UnicodeDecodeError:
            raise InvalidArgument("invalid path: not UTF-8") from None
        if not connection.trusted:
            refusal = self._refusal(head)
            if refusal:
                return message_response(403, refusal)
        text, path = compat.split_version(decoded)
        found = self._router.find(head.method, path)
        if found is None:
            response = message_response(404, "page not found")
            response.headers["unversioned"] = ""
            return response
        route, params = found
        version = compat.negotiate(text)
        if version < route.since:
            return message_response(404, "page not found")
        request = Request(
            method=head.method,
            path=path,
            params=params,
            query=Query(head.query),
            headers=head.headers,
            version=version,
            connection=connection,
        )
        return await route.handler(request, self._services)

    def _refusal(self, head: Head) -> str:
        """Why a request over TCP is refused, or "". Sources: DNS rebinding; CSRF; Fetch Metadata."""
        host = head.headers.get("host", "")
        name = host[1:].partition("]")[0] if host.startswith("[") else host.rpartition(":")[0] or host
        if name and name.lower() not in self._hosts:
            with contextlib.suppress(ValueError):
                ipaddress.ip_address(name)
                name = ""
            if name:
                return f"host {name[:128]!r} is not a name of this daemon"
        if head.headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}:
            return "requests from other sites are refused"
        origin = head.headers.get("origin", "")
        if origin and origin.partition("//")[2] != host:
            return "requests from other sites are refused"
        return ""

    def stream_failed(self, head: Head, error: Exception) -> None:
        """A response broke off."""
        if status_of(error) == 500:
            _LOG.error("response broke off: %s %s", head.method, head.path, exc_info=error)
        else:
            _LOG.warning("response broke off: %s %s: %s", head.method, head.path, error)

    @staticmethod
    def _log(head: Head, status: int, started: float) -> None:
        if _LOG.isEnabledFor(logging.DEBUG):
            _LOG.debug(
                "request",
                extra={
                    "method": head.method,
                    "path": head.path,
                    "status": status,
                    "ms": round((time.perf_counter() - started) * 1000, 2),
                },
            )
