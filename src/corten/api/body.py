"""A request's body: framing by Content-Length and by chunks, and the queue for its handler, without I/O. Daemon only.

`feed(data)` gives the payload in `data` and how many bytes were used; the rest belongs to the next request. The chunked
reader takes exactly the grammar of RFC 9112 section 7.1 with CRLF, bounded sizes, extensions and trailers: everything
that two parsers could read in two ways is an error.
"""

from __future__ import annotations

import asyncio
from collections import deque
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


class BodyQueue:
    """What came of a body and was not taken yet. One producer (the connection), one consumer (the handler)."""

    def __init__(self, length: int | None, *, expects_continue: bool = False) -> None:
        self._framing = body_of(length)
        self._pieces: deque[bytes] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self.size = 0
        self.error: BadRequest | None = None
        self.continue_due = expects_continue and not self._framing.done

    @property
    def arrived(self) -> bool:
        """Whether the body is here to its end."""
        return self._framing.done

    @property
    def wants_more(self) -> bool:
        """Whether bytes from the client still belong to this body."""
        return not self._framing.done and self.error is None

    def feed(self, data: bytes) -> bytes:
        """Take what belongs to the body; returns the rest. A framing error is kept for the handler."""
        used = len(data)
        try:
            pieces, used = self._framing.feed(data)
        except BadRequest as error:
            self.error = error
        else:
            self._pieces.extend(pieces)
            self.size += sum(map(len, pieces))
        self.wake()
        return data[used:]

    def fail(self, error: BadRequest) -> None:
        """The rest will not come."""
        self.error = error
        self.wake()

    def pop(self) -> bytes | None:
        """The next piece, None when there is none now."""
        if not self._pieces:
            return None
        piece = self._pieces.popleft()
        self.size -= len(piece)
        return piece

    async def wait(self) -> None:
        """Until `feed`, `fail` or `wake`."""
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    def wake(self) -> None:
        """Let the consumer look again."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
