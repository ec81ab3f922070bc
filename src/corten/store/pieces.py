"""Which parts of a blob on its way in are there already, when they come in several ranges at once. Daemon; net threads.

The blob is cut into pieces of equal size; how much of each is there stands in a small file beside the bytes, written
after them, so that a killed daemon fetches nothing twice but what was between the two writes. After a loss of power it
may promise too much: the digest tells, and the blob is fetched anew. The caller locks.
"""

from __future__ import annotations

import contextlib
import os
import struct
from pathlib import Path

_HEADER = struct.Struct("<8sQQ")
_MAGIC = b"CTPIECES"
_SLOT = struct.Struct("<Q")
_SMALLEST = 8 << 20
_MOST = 4096


def pieces_path(blob: Path) -> Path:
    """Where the account of the bytes in `blob` is kept."""
    return blob.with_name(f"{blob.name}.pieces")


class Pieces:
    """The account of one blob."""

    def __init__(self, path: Path, fd: int, size: int, piece: int, done: list[int]) -> None:
        self._path = path
        self._fd = fd
        self.size = size
        self._piece = piece
        self._done = done
        self._front = 0
        self._claimed: set[int] = set()

    @classmethod
    def create(cls, path: Path, size: int, prefix: int) -> Pieces:
        """A new account for a blob of `size` bytes of which the first `prefix` are there. Raises OSError."""
        piece = max(_SMALLEST, -(-size // _MOST))
        done = [min(max(prefix - start, 0), piece) for start in range(0, size, piece)]
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.write(fd, _HEADER.pack(_MAGIC, size, piece) + b"".join(map(_SLOT.pack, done)))
        except OSError:
            os.close(fd)
            raise
        return cls(path, fd, size, piece, done)

    @classmethod
    def load(cls, path: Path, there: int) -> Pieces | None:
        """The account that was kept, or None when there is none that fits a file of `there` bytes."""
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        raw = os.read(fd, _HEADER.size + _MOST * _SLOT.size + 1)
        done = [value for (value,) in _SLOT.iter_unpack(raw[_HEADER.size :])] if len(raw) % _SLOT.size == 0 else []
        magic, size, piece = _HEADER.unpack_from(raw) if len(raw) >= _HEADER.size else (b"", 0, 0)
        fits = magic == _MAGIC and piece > 0 and len(done) == -(-size // piece)
        ends = [number * piece + value for number, value in enumerate(done) if value]
        if not fits or max(ends, default=0) > min(there, size) or max(done, default=0) > piece:
            os.close(fd)
            path.unlink()
            return None
        return cls(path, fd, size, piece, done)

    @property
    def prefix(self) -> int:
        """How many bytes are there from the first on without a gap."""
        while self._front < len(self._done) and self._left(self._front) == 0:
            self._front += 1
        if self._front == len(self._done):
            return self.size
        return self._front * self._piece + self._done[self._front]

    @property
    def arrived(self) -> int:
        """How many bytes are there in all."""
        return sum(self._done)

    def record(self, offset: int, count: int) -> None:
        """`count` bytes from `offset` on are there; they follow what is there, or lie within it."""
        end = offset + count
        while offset < end:
            number, within = divmod(offset, self._piece)
            upto = min(end - number * self._piece, self._piece)
            if within <= self._done[number] < upto:
                self._done[number] = upto
                os.pwrite(self._fd, _SLOT.pack(upto), _HEADER.size + number * _SLOT.size)
            offset = number * self._piece + upto

    def claim(self) -> tuple[int, int] | None:
        """The first range that is missing and that nobody else has claimed, as (start, end)."""
        for number in range(self._front, len(self._done)):
            if number not in self._claimed and self._left(number):
                self._claimed.add(number)
                start = number * self._piece
                return start + self._done[number], min(start + self._piece, self.size)
        return None

    def release(self, end: int) -> None:
        """Give a claim that ends at `end` back, done or not."""
        self._claimed.discard((end - 1) // self._piece)

    def close(self) -> None:
        """Let go and keep the account."""
        os.close(self._fd)

    def remove(self) -> None:
        """Delete the account."""
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()

    def _left(self, number: int) -> int:
        return min(self._piece, self.size - number * self._piece) - self._done[number]
