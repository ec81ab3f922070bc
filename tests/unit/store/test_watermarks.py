"""What goes when the disk fills up: nothing below the high mark, what nobody needs first, the oldest first."""

from __future__ import annotations

from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from corten.store.watermarks import Candidate, CandidateKind, Marks, choose

_ORDER = list(get_args(CandidateKind))
_CANDIDATES = st.lists(
    st.builds(
        Candidate,
        kind=st.sampled_from(_ORDER),
        key=st.text("abc", max_size=3),
        size=st.integers(0, 50),
        used_s=st.floats(0, 100, allow_nan=False),
    ),
    max_size=12,
)
MARKS = Marks(high=90, low=80)


def keys(used: int, *, started: bool = False, marks: Marks = MARKS) -> list[str]:
    found = [
        Candidate("unused image", "image", 5, 1.0),
        Candidate("ingest", "new", 4, 9.0),
        Candidate("ingest", "old", 4, 2.0),
        Candidate("blob", "blob", 4, 0.0),
    ]
    return [candidate.key for candidate in choose(found, used=used, total=100, marks=marks, started=started)]


def test_nothing_goes_below_the_high_mark() -> None:
    assert keys(90) == []
    assert keys(91) == ["old", "new", "blob"]


def test_it_ends_at_the_low_mark_once_it_has_begun() -> None:
    assert keys(85) == []
    assert keys(85, started=True) == ["old", "new"]
    assert keys(80, started=True) == []


def test_images_come_last_and_an_engine_may_be_told_never() -> None:
    assert keys(99) == ["old", "new", "blob", "image"]
    assert keys(100, marks=Marks(high=0, low=0)) == []


@given(candidates=_CANDIDATES, used=st.integers(0, 100), low=st.integers(0, 100), high=st.integers(0, 100))
def test_no_more_than_needed_goes_and_never_the_newer_before_the_older(
    candidates: list[Candidate], used: int, low: int, high: int
) -> None:
    low, high = min(low, high), max(low, high)
    chosen = choose(candidates, used=used, total=100, marks=Marks(high=high, low=low))
    if used <= high or not high:
        assert chosen == []
        return
    ranks = [(_ORDER.index(candidate.kind), candidate.used_s) for candidate in chosen]
    assert ranks == sorted(ranks)
    assert used - sum(candidate.size for candidate in chosen[:-1]) > low or not chosen
    left = used - sum(candidate.size for candidate in chosen)
    assert left <= low or len(chosen) == len(candidates)
