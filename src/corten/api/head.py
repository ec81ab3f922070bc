"""The head of an HTTP/1.x request, read strictly. Pure; daemon only.

httptools (llhttp in strict mode) is the referee of syntax: it refuses bare LF, folded lines, spaces before colons, NUL,
duplicate or malformed Content-Length, and Content-Length beside Transfer-Encoding (RFC 9112 sections 5 and 6; request
smuggling). It gets exactly the bytes of one head, so that what follows can be a body, a next request or, after a
hijack, standard input. Bodies are framed by body.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import httptools

HEAD_END: Final = b"\r\n\r\n"
MAX_HEAD: Final = 1 << 20  # as Go's net/http
_MAX_HEADERS: Final = 256
_MAX_TARGET: Final = 64 * 1024


class BadRequest(Exception):
    """The bytes are no acceptable HTTP: answer `status` with `text` and close the connection."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


@dataclass(slots=True)
class Head:
    """A request's head. Header names are lower-case; `length` is the body's, None when it is chunked."""

    method: str = ""
    target: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    keep_alive: bool = True
    http10: bool = False
    length: int | None = 0

    @property
    def path(self) -> str:
        """The target's path, still percent-encoded."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """The target's query, still percent-encoded."""
        return self.target.partition("?")[2]

    @property
    def upgrade(self) -> str:
        """The protocol that the client asks to switch to, lower-case, or ""."""
        if "upgrade" not in self.headers.get("connection", "").lower():
            return ""
        return self.headers.get("upgrade", "").strip().lower()

    @property
    def expects_continue(self) -> bool:
        """Whether the client waits for `100 Continue` before it sends the body (RFC 9110 section 10.1.1)."""
        return not self.http10 and self.headers.get("expect", "").strip().lower() == "100-continue"


class _Sink:
    """What httptools calls."""

    __slots__ = ("complete", "count", "headers", "url")

    def __init__(self) -> None:
        self.url = b""
        self.headers: dict[str, str] = {}
        self.count = 0
        self.complete = False

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.count += 1
        key = name.decode("latin-1").lower()
        text = value.decode("latin-1")
        known = self.headers.get(key)
        if known is None:
            self.headers[key] = text
        elif key in {"host", "content-length", "transfer-encoding", "content-type"}:
            raise BadRequest(f"duplicate {key} header")
        else:
            self.headers[key] = f"{known}, {text}"

    def on_headers_complete(self) -> None:
        self.complete = True


def parse_head(data: bytes) -> Head:
    """The request whose head is exactly `data`, its empty line included. Raises BadRequest."""
    sink = _Sink()
    parser = httptools.HttpRequestParser(sink)
    try:
        parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        pass  # the head is complete; what follows is not HTTP
    except httptools.HttpParserError as error:
        if isinstance(error.__context__, BadRequest):
            raise error.__context__ from None
        raise BadRequest("malformed HTTP request") from error
    if not sink.complete:
        raise BadRequest("malformed HTTP request")
    version = parser.get_http_version()
    if version not in {"1.1", "1.0"}:
        raise BadRequest("only HTTP/1.1 and HTTP/1.0 are spoken here", 505)
    if sink.count > _MAX_HEADERS or len(sink.url) > _MAX_TARGET:
        raise BadRequest("request header fields too large", 431)
    head = Head(
        method=parser.get_method().decode("ascii"),
        target=_origin_form(sink.url.decode("latin-1")),
        headers=sink.headers,
        keep_alive=bool(parser.should_keep_alive()),
        http10=version == "1.0",
    )
    head.length = _body_length(head)
    if not head.http10 and "host" not in head.headers:
        raise BadRequest("missing required Host header")
    return head


def _origin_form(target: str) -> str:
    """`/path?query`, also of the absolute form that proxies send."""
    if target.startswith(("http://", "https://")):
        slash = target.find("/", target.index("//") + 2)
        return "/" if slash < 0 else target[slash:]
    return target


def _body_length(head: Head) -> int | None:
    coding = head.headers.get("transfer-encoding")
    if coding is not None:
        if head.http10 or coding.strip().lower() != "chunked":
            raise BadRequest("unsupported transfer encoding", 501)
        return None
    text = head.headers.get("content-length", "0").strip()
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise BadRequest("bad Content-Length")
    return int(text)
