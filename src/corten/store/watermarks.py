"""High and low water: what to delete when the data root's file system fills up. Pure.

Nothing goes below the high mark. Above it, what nobody needs goes first and the oldest first, until the low mark would
be reached. What a user has named or a container uses is never among the candidates, unless the configuration says so.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

CandidateKind = Literal["ingest", "blob", "build step", "dangling image", "unused image"]
_RANK: dict[CandidateKind, int] = {"ingest": 0, "blob": 1, "build step": 2, "dangling image": 3, "unused image": 4}


@dataclass(frozen=True, slots=True)
class Marks:
    """Both in percent of what users of the file system can have; `high` 0 turns it off."""

    high: int
    low: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """Something that may be deleted, the bytes that would give back at least, and when it was last of use."""

    kind: CandidateKind
    key: str
    size: int
    used_s: float


def choose(
    candidates: Iterable[Candidate], *, used: int, total: int, marks: Marks, started: bool = False
) -> list[Candidate]:
    """What to delete now, in order; nothing below the high mark, or, once it has `started`, below the low one."""
    mark = marks.low if started else marks.high
    if not marks.high or used * 100 <= mark * total:
        return []
    wanted = used - marks.low * total // 100
    chosen: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda c: (_RANK[c.kind], c.used_s, c.key)):
        if wanted <= 0:
            break
        chosen.append(candidate)
        wanted -= candidate.size
    return chosen
