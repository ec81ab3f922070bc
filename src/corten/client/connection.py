"""HTTP/1.1 on one connection: requests out, heads and bodies in. Blocking, and bounded where the peer chooses sizes.

RFC 9112. `Connection` knows nothing of Docker; `corten.client.api` gives answers their meaning.
"""

from __future__ import annotations

import _socket
import sys

from corten.client.errors import ConnectionBroken

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_MAX_HEAD = 64 << 10
_MAX_BODY = 512 << 20  # a JSON answer that is read whole
_CHUNK = 64 << 10
_NO_SIGNAL = _socket.MSG_NOSIGNAL
_LONG = 8 if sys.maxsize > 1 << 32 else 4
_LOOK = (1).to_bytes(_LONG, sys.byteorder) + bytes(_LONG)  # struct timeval: a second


class Connection:
    """A stream to the engine and what was read ahead of it."""

    __slots__ = ("_buffer", "_left", "_mode", "headers", "reusable", "sock", "status")

    def __init__(self, sock: _socket.socket) -> None:
        # a signal between the interpreter's last look and recv(2) is not seen until that returns: it does, now and then
        sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_RCVTIMEO, _LOOK)
        self.sock = sock
        self._buffer = bytearray()
        self._mode = "none"  # of the body: none, length, chunked, close
        self._left = 0
        self.status = 0
        self.headers: dict[str, str] = {}
        self.reusable = True

    def send(self, data: bytes) -> None:
        """Send all of it; raises ConnectionBroken."""
        try:
            if hasattr(self.sock, "context"):  # TLS takes no flags
                self.sock.sendall(data)
            else:
                self.sock.sendall(data, _NO_SIGNAL)
        except OSError as error:
            raise ConnectionBroken(f"the engine closed the connection while a request was sent: {error}") from error

    def fileno(self) -> int:
        """For poll."""
        return self.sock.fileno()

    def close(self) -> None:
        """Close the socket."""
        self.sock.close()

    @property
    def buffered(self) -> bool:
        """Whether something was read ahead, for which poll would wait in vain."""
        return bool(self._buffer)

    def pending(self) -> bytes:
        """Take what was read beyond the head (a hijacked stream's first bytes)."""
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    def _fill(self) -> bool:
        while True:
            try:
                data = self.sock.recv(_CHUNK)
            except BlockingIOError:
                continue
            except OSError as error:
                raise ConnectionBroken(f"the connection to the engine broke: {error}") from error
            self._buffer += data
            return bool(data)

    def read_head(self, *, of_head_request: bool = False) -> int:
        """Read status line and headers, skipping 1xx but 101; returns the status."""
        while True:
            end = self._buffer.find(b"\r\n\r\n")
            while end < 0:
                if len(self._buffer) > _MAX_HEAD:
                    raise ConnectionBroken("the engine's answer has too many headers")
                if not self._fill():
                    raise ConnectionBroken("the engine closed the connection without an answer")
                end = self._buffer.find(b"\r\n\r\n")
            lines = self._buffer[:end].decode("latin-1").split("\r\n")
            del self._buffer[: end + 4]
            fields = lines[0].split(" ", 2)
            if len(fields) < 2 or not fields[0].startswith("HTTP/1.") or not fields[1].isdigit():
                raise ConnectionBroken(f"the answer is not HTTP: {lines[0][:100]!r}")
            self.status = int(fields[1])
            self.headers = {}
            for line in lines[1:]:
                name, _, value = line.partition(":")
                self.headers[name.lower()] = value.strip()
            if self.status >= 200 or self.status == 101:
                break
        self._set_body(of_head_request)
        return self.status

    def _set_body(self, of_head_request: bool) -> None:
        headers = self.headers
        if headers.get("connection", "").lower() == "close":
            self.reusable = False
        if self.status == 101:
            self._mode, self.reusable = "close", False
        elif of_head_request or self.status in (204, 304):
            self._mode = "none"
        elif headers.get("transfer-encoding", "").lower() == "chunked":
            self._mode, self._left = "chunked", 0
        elif "content-length" in headers:
            length = headers["content-length"]
            if not length.isdigit():
                raise ConnectionBroken("the engine's answer has a bad Content-Length")
            self._mode, self._left = "length", int(length)
        else:
            self._mode, self.reusable = "close", False

    def read_some(self) -> bytes:
        """The next piece of the body; b"" at its end."""
        if self._mode == "none":
            return b""
        if self._mode == "length":
            return self._take_of_length()
        if self._mode == "chunked":
            return self._take_of_chunks()
        if not self._buffer and not self._fill():
            self._mode = "none"
            return b""
        return self.pending()

    def _take_of_length(self) -> bytes:
        if self._left == 0:
            self._mode = "none"
            return b""
        if not self._buffer and not self._fill():
            raise ConnectionBroken("the engine closed the connection in the middle of an answer")
        data = bytes(self._buffer[: self._left])
        del self._buffer[: self._left]
        self._left -= len(data)
        return data

    def _line(self) -> bytes:
        end = self._buffer.find(b"\r\n")
        while end < 0:
            if len(self._buffer) > _MAX_HEAD or not self._fill():
                raise ConnectionBroken("the engine closed the connection in the middle of an answer")
            end = self._buffer.find(b"\r\n")
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line

    def _take_of_chunks(self) -> bytes:
        if self._left == 0:
            text = self._line().split(b";", 1)[0].strip()
            try:
                self._left = int(text, 16)
            except ValueError:
                raise ConnectionBroken(f"the engine sent a bad chunk: {text[:40]!r}") from None
            if self._left <= 0:
                while self._line():  # trailers
                    pass
                self._mode = "none"
                return b""
        data = self._take_of_length()
        if self._left == 0:
            self._line()
        return data

    def read_body(self) -> bytes:
        """The rest of the body, whole."""
        parts: list[bytes] = []
        size = 0
        while data := self.read_some():
            size += len(data)
            if size > _MAX_BODY:
                raise ConnectionBroken("the engine's answer is too large")
            parts.append(data)
        return b"".join(parts)

    def pieces(self) -> Iterator[bytes]:
        """The body as it comes."""
        while data := self.read_some():
            yield data
