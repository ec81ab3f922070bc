"""A response's head as bytes. Pure; daemon only."""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

from corten.api import compat
from corten.api.routing import Response
from corten.errors import Internal

# Every reply carries these; clients read Api-Version, Ostype and Docker-Experimental from `_ping`.
_COMMON = (
    f"Api-Version: {compat.MAX_TEXT}\r\n"
    "Docker-Experimental: false\r\n"
    "Ostype: linux\r\n"
    f"Server: Docker/{compat.ENGINE_VERSION} (linux)\r\n"
)
_REASONS = {status.value: status.phrase for status in HTTPStatus}


@lru_cache(maxsize=1)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)


def render(response: Response, *, chunked: bool, keep_alive: bool, head_only: bool) -> bytes:
    """Status line, headers and, unless it is a stream or an answer to HEAD, the body.

    204 and 304 have no body and no length (RFC 9110 section 8.6). A response with `unversioned` among its headers is
    one of Docker's outer router, which knows no version.
    """
    status = response.status
    lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Status')}\r\n"]
    headers = response.headers
    if "unversioned" in headers:
        headers = {name: value for name, value in headers.items() if name != "unversioned"}
    else:
        lines.append(_COMMON)
    if response.content_type:
        lines.append(f"Content-Type: {_clean(response.content_type)}\r\n")
    for name, value in headers.items():
        lines.append(f"{name}: {_clean(value)}\r\n")
    lines.append(f"Date: {_date(int(time.time()))}\r\n")
    if not keep_alive:
        lines.append("Connection: close\r\n")
    body = b""
    if chunked:
        lines.append("Transfer-Encoding: chunked\r\n")
    elif response.stream is None and status not in {204, 304}:
        body = response.body or b""
        if "Content-Length" not in headers:
            lines.append(f"Content-Length: {len(body)}\r\n")
    lines.append("\r\n")
    head = "".join(lines).encode("latin-1", "replace")
    return head if head_only else head + body


def render_hijack(content_type: str, upgrade: str, headers: Mapping[str, str]) -> bytes:
    """The head after which a connection speaks no HTTP: 101 to the protocol asked for, or 200 without a length."""
    lines = ["HTTP/1.1 101 UPGRADED" if upgrade else "HTTP/1.1 200 OK"]
    if content_type:
        lines.append(f"Content-Type: {_clean(content_type)}")
    if upgrade:
        lines += ["Connection: Upgrade", f"Upgrade: {upgrade if upgrade.replace('-', '').isalnum() else 'tcp'}"]
    lines += [f"{name}: {_clean(value)}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


def _clean(value: str) -> str:
    if "\r" in value or "\n" in value or "\0" in value:
        raise Internal("a response header holds control characters")
    return value
