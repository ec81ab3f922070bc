"""How a sparse file is laid out: in chunks that lie in the tar or, where that cannot be, in a copy behind it. Pure.

Chunks are of one size a file, and each is a hole or lies contiguously in the image. A map whose pieces begin and end
at multiples of some power of two from 512 on stays in the tar. Any other one is copied piece by piece, into chunks so
large that they are few; their holes are holes of the image file too.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from corten.store.erofs.layout import BLOCK, BLOCK_BITS, HOLE

_LARGEST_CHUNK = BLOCK_BITS + 31
_COPIED_CHUNKS = 1024  # the indexes of a copied file take at most twice this many
_FREE_INDEXES = 2048
_BYTES_AN_INDEX = 128  # more indexes of a file may take 1/16 of its data
_MAX_INDEXES = 1 << 17


@dataclass(slots=True)
class Copy:
    """A file to copy: pieces as (offset in the file, length) in turn, stored one after the other from `source` on."""

    bits: int
    size: int
    source: int
    pieces: array[int]

    @property
    def chunks(self) -> list[int]:
        """The numbers of the chunks that hold data, ascending."""
        found: set[int] = set()
        for offset, length in zip(self.pieces[::2], self.pieces[1::2], strict=True):
            found.update(range(offset >> self.bits, (offset + length - 1 >> self.bits) + 1))
        return sorted(found)


def in_place(pieces: Sequence[tuple[int, int]], size: int, block: int) -> tuple[int, list[int]] | None:
    """(chunk bits, the block of each chunk) for data that begins at image block `block`; None if it must be copied."""
    bounds = 0
    for offset, length in pieces:
        bounds |= offset
        if offset + length != size:
            bounds |= offset + length
    bits = min((bounds & -bounds).bit_length() - 1 if bounds else _LARGEST_CHUNK, _LARGEST_CHUNK)
    count = -(-size >> bits)
    stored = sum(length for _, length in pieces)
    if bits < BLOCK_BITS or count > min(_FREE_INDEXES + stored // _BYTES_AN_INDEX, _MAX_INDEXES):
        return None
    blocks = [HOLE] * count
    for offset, length in pieces:
        for chunk in range(offset >> bits, -(-(offset + length) >> bits)):
            blocks[chunk] = block + ((chunk << bits) - offset >> BLOCK_BITS)
        block += -(-length // BLOCK)
    return bits, blocks


def copied(pieces: Sequence[tuple[int, int]], size: int, source: int) -> Copy:
    """The same for a file that must be copied, from byte `source` of the image on."""
    bits = max(BLOCK_BITS, (size // _COPIED_CHUNKS).bit_length())
    return Copy(bits, size, source, array("Q", [number for piece in pieces for number in piece]))
