"""Lets objects that are made one after the other lie side by side. Runs in the zygote while it loads.

The interpreter's allocator cuts memory into pools of 16 KiB, each for blocks of one size up to 512 bytes, and fills
pools that have gaps before it begins another (CPython, Objects/obmalloc.c). Loading modules leaves gaps everywhere, so
what a shim makes, or touches because the rehearsal made it, would lie alone on its page, and each page that a shim
writes to is a copy of its own. With the gaps filled it lies together: 0.2 MB less for each shim, for 0.2 MB in the
zygote. Another allocator or another size of pools makes this useless, not wrong.
"""

from __future__ import annotations

_POOL = 16 << 10
_POOL_HEAD = 48
_SIZES = range(48, 512 + 1, 16)  # all but the two that hardly anything has
_OVERHEAD = bytes(1).__sizeof__() - 1
_ROW = 8  # so many blocks in a row, from the head of a pool, are a new pool and no gap
_MOST = 8192  # more gaps of one size than any start has


def fill_gaps() -> list[bytes]:
    """Fill the gaps in the pools of every size; they stay filled as long as the result is kept."""
    kept: list[bytes] = []
    for size in _SIZES:
        made: list[bytes] = []
        while not _begins_a_pool(made[-_ROW:], size):
            if len(made) == _MOST:  # these are no such pools
                return []
            made.append(bytes(size - _OVERHEAD))
        kept += made[:-_ROW]
    return kept


def _begins_a_pool(row: list[bytes], size: int) -> bool:
    return len(row) == _ROW and id(row[0]) % _POOL == _POOL_HEAD and id(row[-1]) - id(row[0]) == size * (_ROW - 1)
