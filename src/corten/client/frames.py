"""Docker's multiplexed streams: frames of an 8 byte header (stream, three zeros, length big endian) and a payload.

Source: "Stream format" of ContainerAttach in the Docker Engine API.
"""

from __future__ import annotations

from corten.client.errors import ConnectionBroken

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

STDIN, STDOUT, STDERR, SYSTEM_ERROR = 0, 1, 2, 3


class FrameReader:
    """Splits a byte stream into (stream, payload) pairs; payloads come as they arrive, never gathered."""

    __slots__ = ("_header", "_left", "_stream")

    def __init__(self) -> None:
        self._header = b""
        self._left = 0
        self._stream = STDOUT

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Take the next bytes; yields the payloads in them."""
        position, size = 0, len(data)
        while position < size:
            if self._left == 0:
                taken = data[position : position + 8 - len(self._header)]
                self._header += taken
                position += len(taken)
                if len(self._header) < 8:
                    return
                self._stream = self._header[0]
                if self._stream > SYSTEM_ERROR:
                    raise ConnectionBroken(f"unrecognized stream: {self._stream}")
                self._left = int.from_bytes(self._header[4:], "big")
                self._header = b""
                continue
            payload = data[position : position + self._left]
            position += len(payload)
            self._left -= len(payload)
            yield self._stream, payload

    @property
    def incomplete(self) -> bool:
        """Whether the stream stopped inside a frame."""
        return bool(self._header) or self._left > 0
