"""The client: one object per engine, `call` for JSON answers, `stream` for the rest, `hijack` for attach and exec.

Paths go without a version, which means the engine's newest: no round trip is spent on negotiation. One idle connection
is kept, so that consecutive calls share it.
"""

from __future__ import annotations

from corten.client import json_text
from corten.client.connection import Connection
from corten.client.dial import dial
from corten.client.errors import ApiError, ConnectionBroken
from corten.client.query import encode_query

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
    from typing import Any

    Data = bytes | Iterable[bytes] | Callable[[Callable[[bytes], None]], None]

    from corten.client.address import Address

_MAX_LINE = 64 << 20  # one message of a JSON stream
_UPGRADE = {"Connection": "Upgrade", "Upgrade": "tcp"}


class Client:
    """Calls to the engine at `address`. `connect` makes a connection (the command line starts a daemon there)."""

    def __init__(
        self,
        address: Address,
        *,
        connect: Callable[[Address], Any] = dial,
        user_agent: str = "Corten-Client",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.address = address
        self._connect = connect
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        self._user_agent = user_agent
        self._idle: Connection | None = None

    def close(self) -> None:
        """Close the idle connection."""
        if self._idle is not None:
            self._idle.close()
            self._idle = None

    def connection(self) -> Connection:
        """A fresh connection."""
        return Connection(self._connect(self.address))

    def send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: object = None,
        data: Data | None = None,
        headers: Mapping[str, str] | None = None,
        connection: Connection | None = None,
    ) -> Connection:
        """Send a request and return its connection, the answer unread.

        `body` is sent as JSON; `data` as it is: bytes, pieces, or a function that writes to the function it is given.
        """
        reused = connection is None and self._idle is not None
        conn = connection or self._idle or self.connection()
        if reused:
            self._idle = None
        target = path + ("?" + text if query and (text := encode_query(query)) else "")
        head = f"{method} {target} HTTP/1.1\r\nHost: corten\r\nUser-Agent: {self._user_agent}\r\n{self._headers}"
        for name, value in (headers or {}).items():
            head += f"{name}: {value}\r\n"
        if body is not None:
            data = json_text.dumps(body)
            head += "Content-Type: application/json\r\n"
        if data is not None and not isinstance(data, bytes):
            return self._send_chunked(conn, head, data)
        if method not in ("GET", "HEAD") or data is not None:
            head += f"Content-Length: {len(data or b'')}\r\n"
        message = f"{head}\r\n".encode() + (data or b"")
        try:
            conn.send(message)
        except ConnectionBroken:
            if not reused:
                raise
            conn.close()  # the engine had closed the idle connection meanwhile
            conn = self.connection()
            conn.send(message)
        return conn

    def _send_chunked(
        self, conn: Connection, head: str, data: Iterable[bytes] | Callable[[Callable[[bytes], None]], None]
    ) -> Connection:
        conn.send(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())

        def write(piece: bytes) -> None:
            if piece:
                conn.send(b"%x\r\n%b\r\n" % (len(piece), piece))

        try:
            if callable(data):
                data(write)
            else:
                for piece in data:
                    write(piece)
            conn.send(b"0\r\n\r\n")
        except ConnectionBroken:
            conn.reusable = False  # the engine may have refused early: its answer is read all the same
        return conn

    def release(self, conn: Connection) -> None:
        """Keep the connection for the next call; its answer has been read."""
        if conn.reusable and self._idle is None:
            self._idle = conn
        else:
            conn.close()

    def answer(self, conn: Connection, *, of_head_request: bool = False) -> Connection:
        """Read the head of the answer; raises ApiError for 4xx and 5xx."""
        if conn.read_head(of_head_request=of_head_request) >= 400:
            raise self.refusal(conn, of_head_request=of_head_request)
        return conn

    def refusal(self, conn: Connection, *, of_head_request: bool = False) -> ApiError:
        """What the engine says, of whose answer the head was read. Raises ConnectionBroken."""
        raw = b"" if of_head_request else conn.read_body()
        self.release(conn)
        text = raw.decode("utf-8", "replace").strip()
        if "json" in conn.headers.get("content-type", ""):
            try:
                decoded = json_text.loads(text)
                text = str(decoded.get("message") or text)
            except (ValueError, AttributeError):
                pass
        return ApiError(conn.status, text or f"the engine answered with status {conn.status}")

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: object = None,
        data: Data | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """One request; returns the decoded JSON answer, None when it is empty. Raises ApiError."""
        return self.receive(self.send(method, path, query=query, body=body, data=data, headers=headers))

    def receive(self, conn: Connection) -> Any:
        """The decoded JSON answer to what was sent on `conn`, None when it is empty. Raises ApiError."""
        raw = self.answer(conn).read_body()
        self.release(conn)
        try:
            return json_text.loads(raw) if raw.strip() else None
        except ValueError as error:
            raise ConnectionBroken(f"the engine's answer is not JSON: {error}") from error

    def head(self, path: str, *, query: Mapping[str, object] | None = None) -> dict[str, str]:
        """The headers that HEAD gives."""
        conn = self.answer(self.send("HEAD", path, query=query), of_head_request=True)
        self.release(conn)
        return conn.headers

    def stream(self, method: str, path: str, **options: Any) -> Connection:
        """A request whose answer is read piece by piece (`pieces()`); close the connection when done."""
        return self.answer(self.send(method, path, **options, connection=self.connection()))

    def messages(self, method: str, path: str, **options: Any) -> Generator[dict[str, Any]]:
        """The objects of a JSON stream as they come."""
        conn = self.stream(method, path, **options)
        try:
            yield from split_messages(conn.pieces())
        finally:
            conn.close()

    def hijack(self, path: str, *, query: Mapping[str, object] | None = None, body: object = None) -> Connection:
        """Send an attach or exec start that takes the connection over; read its head with `answer`."""
        return self.send("POST", path, query=query, body=body, headers=_UPGRADE, connection=self.connection())


def split_messages(pieces: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """Cut a stream of concatenated JSON objects into objects. Engines end each with a newline, or do not."""
    text = b""
    for piece in pieces:
        text += piece
        if len(text) > _MAX_LINE:
            raise ConnectionBroken("the engine sent a message that is too large")
        if not piece.rstrip().endswith((b"}", b"]")):
            continue
        rest = text.decode("utf-8", "replace").strip()
        while rest:
            try:
                value, rest = json_text.scan(rest, 0)
            except ValueError:
                break
            yield value
        text = rest.encode()
    if text.strip():
        raise ConnectionBroken("the engine's stream ended in the middle of a message")
