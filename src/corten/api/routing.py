"""Requests, responses and the route decorator: what a handler sees of HTTP. Daemon only; does no I/O itself.

A route file holds handlers:

    @route("POST", "/containers/{id}/pause")
    async def container_pause(request: Request, services: Services) -> Response:
        await services.containers.pause(request.params["id"])
        return empty(204)

and its module name stands in `routes/__init__.py: MODULES`. `{name:path}` matches slashes too (image references).
The server (api/server.py) makes the Request, writes the Response and maps errors (api/errors.py).
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

from corten.api.query import Query
from corten.errors import InvalidArgument
from corten.lib import codec

if TYPE_CHECKING:
    from corten.api.services import Services

T = TypeVar("T")
ApiVersion = tuple[int, int]


class Connection(Protocol):
    """What a handler may do with the client's connection itself; implemented by api/server.py. `trusted`: it is one of
    a unix socket, whose peer the kernel knows."""

    trusted: bool

    def body(self) -> AsyncIterator[bytes]:
        """The request's body, in chunks as they arrive, with back-pressure."""

    async def read_body(self) -> bytes:
        """The whole body. Raises InvalidArgument above the limit (16 MiB)."""

    async def hijack(
        self, *, content_type: str, status_200: bool = False, headers: Mapping[str, str] | None = None
    ) -> Hijacked:
        """Send the 101 (or 200, for clients without Upgrade) head and give up HTTP on this connection.

        The body must have been read. `status_200` answers 200 in any case; `headers` are sent besides.
        """

    def on_disconnect(self, callback: Callable[[], None]) -> None:
        """Call `callback` once when the client closes the connection before the response is complete."""


@dataclass(frozen=True, slots=True)
class Hijacked:
    """A connection taken over: `fd` is a duplicate that the taker owns and closes.

    `preface` is what the client sent behind the request head: it belongs to stdin, before what is read from `fd`.
    With TLS it is one end of a socketpair that the server relays (tls.py).
    """

    fd: int
    preface: bytes


@dataclass(slots=True)
class Request:
    """One API request. Header names are lower-case; `version` is what the path asked for, or the newest."""

    method: str
    path: str
    params: dict[str, str]
    query: Query
    headers: Mapping[str, str]
    version: ApiVersion
    connection: Connection

    async def json(self, kind: type[T]) -> T:
        """The body as `kind`. Raises InvalidArgument (bad JSON, wrong types, no JSON content type)."""
        body = await self.connection.read_body()
        self._check_content_type()
        if not body:
            raise InvalidArgument("invalid JSON: got EOF while reading request body")
        return codec.decode(kind, body)

    async def optional_json(self, kind: type[T]) -> T | None:
        """As `json`, but None for an empty body, which clients may send where everything has a default."""
        body = await self.connection.read_body()
        if not body.strip():
            return None
        self._check_content_type()
        return codec.decode(kind, body)

    def _check_content_type(self) -> None:
        text = self.headers.get("content-type", "")
        media = text.partition(";")[0].strip().lower()
        if not media:
            raise InvalidArgument(f"malformed Content-Type header ({text}): mime: no media type")
        if media != "application/json":
            raise InvalidArgument(f"unsupported Content-Type header ({text[:128]}): must be 'application/json'")


@dataclass(slots=True)
class Response:
    """A reply: `body` bytes, or a `stream` written chunk by chunk, each flushed at once (headers before the first)."""

    status: int = 200
    body: bytes | None = None
    stream: AsyncIterator[bytes] | None = None
    content_type: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    hijacked: bool = False


def json_response(value: object, status: int = 200) -> Response:
    """`value` encoded as JSON, with the newline Docker ends it with."""
    return Response(status=status, body=codec.encode(value) + b"\n", content_type="application/json")


def empty(status: int = 204) -> Response:
    """No body."""
    return Response(status=status)


def stream_response(
    stream: AsyncIterator[bytes], content_type: str = "application/json", status: int = 200
) -> Response:
    """A chunked reply. The iterator is closed (aclose) when the client goes away."""
    return Response(status=status, stream=stream, content_type=content_type)


def hijacked() -> Response:
    """The handler took the connection over by `request.connection.hijack`; nothing more is written."""
    return Response(hijacked=True)


Handler = Callable[[Request, "Services"], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Route:
    """One endpoint. `since` is the API version that brought it."""

    method: str
    path: str
    pattern: re.Pattern[str]
    handler: Handler
    since: ApiVersion


def _compile(path: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)(:path)?\}", path)
    out = ""
    for index in range(0, len(parts), 3):
        out += re.escape(parts[index])
        if index + 1 < len(parts):
            out += f"(?P<{parts[index + 1]}>{'.+' if parts[index + 2] else '[^/]+'})"
    return re.compile(out)


def route(method: str, path: str, *, since: str = "1.24") -> Callable[[Handler], Handler]:
    """Mark an async function as the handler of `method path`; `collect` in routes/__init__.py finds the mark."""
    major, minor = since.split(".")

    def mark(handler: Handler) -> Handler:
        entry = Route(method, path, _compile(path), handler, (int(major), int(minor)))
        marks: list[Route] = getattr(handler, "routes", [])
        handler.routes = [*marks, entry]  # type: ignore[attr-defined]
        return handler

    return mark
