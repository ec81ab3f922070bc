"""Bytes at ascending places of an image, written in large pieces. Blocking; a thread of the daemon."""

from __future__ import annotations

import errno
import os

from corten.store.erofs import layout

_PIECE = 1 << 20


def whole_blocks(size: int) -> int:
    """The first whole block from there on, in bytes."""
    return -(-size // layout.BLOCK) * layout.BLOCK


def write(fd: int, data: bytes | bytearray, offset: int) -> None:
    """All of it. Raises OSError, with EFBIG where EROFS' 32-bit block numbers end."""
    if offset + len(data) > layout.MAX_BLOCKS * layout.BLOCK:
        raise OSError(errno.EFBIG, "the layer is larger than 2 TiB")
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view, offset = view[written:], offset + written


class Appender:
    """Collects what is put, and writes it when it is much."""

    def __init__(self, fd: int, start: int) -> None:
        self._fd = fd
        self._start = start
        self._buffer = bytearray()

    @property
    def end(self) -> int:
        """Where the next byte would be."""
        return self._start + len(self._buffer)

    def put(self, data: bytes | memoryview, place: int) -> None:
        """Put bytes at a place that nothing was put behind; what is between is zeros. Raises OSError."""
        self._buffer += bytes(place - self.end)
        self.append(data)

    def append(self, data: bytes | memoryview) -> None:
        """Put bytes at the end. Raises OSError."""
        self._buffer += data
        if len(self._buffer) > _PIECE:
            self.flush()

    def flush(self) -> None:
        """Write what was put. Raises OSError."""
        write(self._fd, self._buffer, self._start)
        self._start = self.end
        self._buffer = bytearray()
