"""How much history is kept, and which records go. Pure; daemon.

BuildKit's rule: a record goes that is neither among the 50 newest nor younger than two days. Beside it there are ends:
so many records and bytes in all, the oldest going first. Pinned records stay, and there may be only so many.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

NEWEST = 50
AGE_S = 48 * 3600
MOST = 1000
MOST_BYTES = 128 << 20
MOST_PINNED = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A record: when its build was over (seconds), and the bytes of it and its blobs."""

    ref: str
    ended_s: int
    size: int
    pinned: bool = False


def to_forget(records: Iterable[Kept], now_s: float) -> list[str]:
    """The refs of those that go, oldest first."""
    gone: list[str] = []
    total = 0
    free = sorted((one for one in records if not one.pinned), key=lambda one: (one.ended_s, one.ref), reverse=True)
    for number, one in enumerate(free):
        total += one.size
        is_old = number >= NEWEST and one.ended_s < now_s - AGE_S
        if is_old or number >= MOST or total > MOST_BYTES:
            total -= one.size
            gone.append(one.ref)
    return gone[::-1]
