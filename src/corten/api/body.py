"""Where a request's body ends: framing by Content-Length and by chunks, without I/O. Pure; daemon only.

`feed(data)` gives the payload in `data` and how many bytes were used; the rest belongs to the next request. The chunked
reader takes exactly the grammar of RFC 9112 section 7.1 with CRLF, bounded sizes, extensions and trailers: everything
that two parsers could read in two ways is an error.
"""

from __future__ import annotations

from typing import Protocol

from corten.api.head import BadRequest

_MAX_LINE = 4096
_MAX_TRAILERS = 16 * 1024
_HEX = frozenset(b"0123456789abcdefABCDEF")


class Body(Protocol):
    """The framing of one body."""

    done: bool

    def feed(self, data: bytes) -> tuple[list[bytes], int]:
        """(payload pieces, bytes used of `data`). Raises BadRequest."""


class LengthBody:
    """A body of a known length."""

    def __init__(self, length: int) -> None:
        self._left = length
        self.done = length == 0

    def feed(self, data: bytes) -> tuple[list[bytes], int]:
        """See Body."""
        used = min(self._left, len(data))
        self._left -= used
        self.done = self._left == 0
        return ([data[:used]] if used else []), used


class ChunkedBody:
    """A body in chunks."""

    def __init__(self) -> None:
        self.done = False
        self._line = bytearray()
        self._left = 0
        self._part = "size"  # size, data, data-end, trailer
        self._trailers = 0

    def feed(self, data: bytes) -> tuple[list[bytes], int]:
        """See Body."""
        pieces: list[bytes] = []
        position = 0
        while position < len(data) and not self.done:
            if self._part == "data":
                piece = data[position : position + self._left]
                pieces.append(piece)
                position += len(piece)
                self._left -= len(piece)
                if not self._left:
                    self._part = "data-end"
                continue
            end = data.find(b"\n", position)
            stop = len(data) if end < 0 else end + 1
            self._line += data[position:stop]
            position = stop
            if len(self._line) > _MAX_LINE:
                raise BadRequest("chunk line too long")
            if end >= 0:
                self._take_line()
        return pieces, position

    def _take_line(self) -> None:
        line = bytes(self._line)
        self._line.clear()
        if not line.endswith(b"\r\n") or b"\r" in line[:-2] or b"\0" in line:
            raise BadRequest("malformed chunk")
        line = line[:-2]
        if self._part == "data-end":
            if line:
                raise BadRequest("malformed chunk")
            self._part = "size"
        elif self._part == "trailer":
            self._trailers += len(line)
            if self._trailers > _MAX_TRAILERS:
                raise BadRequest("request header fields too large", 431)
            self.done = not line
        else:
            size = line.partition(b";")[0].rstrip(b" \t")
            if not size or len(size) > 15 or not _HEX.issuperset(size):
                raise BadRequest("malformed chunk size")
            self._left = int(size, 16)
            self._part = "data" if self._left else "trailer"


def body_of(length: int | None) -> Body:
    """The framing for `length` (None: chunked)."""
    return ChunkedBody() if length is None else LengthBody(length)
