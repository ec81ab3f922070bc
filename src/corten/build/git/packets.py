"""Git's packet lines: a length of four hexadecimal digits, and the data. Pure; net threads.

Source: gitprotocol-common(5). What is read is bounded by a packet's own limit of 65,520 bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import Enum

from corten.build.git.error import GitError

_LIMIT = 65520
_LINES_LIMIT = 64 << 20


class Marker(Enum):
    """Packets that carry nothing."""

    FLUSH = 0
    DELIMITER = 1
    RESPONSE_END = 2


Packet = bytes | Marker
FLUSH = b"0000"
DELIMITER = b"0001"


def packet(data: bytes) -> bytes:
    """One packet."""
    if len(data) + 4 > _LIMIT:
        raise GitError("a line of git's protocol is too long")
    return b"%04x" % (len(data) + 4) + data


def line(text: str) -> bytes:
    """A packet of one line."""
    return packet(text.encode("utf-8", "surrogateescape") + b"\n")


class PacketReader:
    """Packets of bytes that come in chunks."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = bytearray()
        self._again: bytes | None = None

    def put_back(self, packet: bytes) -> None:
        """Let the packet that was just read be read again."""
        self._again = packet

    def read(self) -> Packet | None:
        """The next packet; None at the end. Raises GitError for what is none, or is cut off."""
        if self._again is not None:
            again, self._again = self._again, None
            return again
        head = self._take(4, may_end=True)
        if not head:
            return None
        try:
            length = int(head, 16) if head.isalnum() else -1
        except ValueError:
            length = -1
        if 0 <= length <= 2:
            return Marker(length)
        if not 4 <= length <= _LIMIT:
            raise GitError(f"the server does not speak git's protocol: it said {bytes(head)!r}")
        return self._take(length - 4)

    def lines(self) -> Iterator[str]:
        """The lines up to the next marker. Raises GitError with what the server says is wrong, or for too many."""
        said = 0
        while isinstance(found := self.read(), bytes):
            said += len(found) + 64  # an empty one is something to be kept, too
            if said > _LINES_LIMIT:
                raise GitError(f"the server says more than {_LINES_LIMIT >> 20} MB before it sends anything")
            text = text_of(found)
            if text.startswith("ERR "):
                raise remote_error(text[4:])
            yield text

    def _take(self, size: int, *, may_end: bool = False) -> bytes:
        while len(self._rest) < size:
            chunk = next(self._chunks, None)
            if chunk is None:
                if may_end and not self._rest:
                    return b""
                raise GitError("the server broke off in the middle of a packet")
            self._rest += chunk
        taken = bytes(self._rest[:size])
        del self._rest[:size]
        return taken


def text_of(data: bytes) -> str:
    """A line without its end."""
    return data.removesuffix(b"\n").decode("utf-8", "surrogateescape")


def remote_error(text: str) -> GitError:
    """What the server says, fit to be shown."""
    shown = "".join(char if char.isprintable() else " " for char in text[:300]).strip()
    return GitError(f"remote error: {shown}")
