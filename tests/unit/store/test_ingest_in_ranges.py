"""A blob that comes in several ranges: nothing lost, nothing claimed twice, hashed in order, taken up after a crash."""

from __future__ import annotations

import hashlib
import os
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corten.errors import DataLoss
from corten.store import pieces as module
from corten.store.content import ContentStore
from corten.store.pieces import Pieces, pieces_path

_PIECE = 1000
_DATA = random.Random(3).randbytes(4500)
_DIGEST = f"sha256:{hashlib.sha256(_DATA).hexdigest()}"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ContentStore:
    monkeypatch.setattr(module, "_SMALLEST", _PIECE)
    return ContentStore(tmp_path)


def names(tmp_path: Path) -> list[str]:
    return os.listdir(tmp_path / "ingest")


def test_ranges_are_claimed_once_each_and_in_order(store: ContentStore, tmp_path: Path) -> None:
    ingest = store.ingest("ref")
    ingest.write(_DATA[:300])
    ingest.split(len(_DATA))
    claims = [ingest.claim() for _ in range(6)]
    assert claims == [(300, 1000), (1000, 2000), (2000, 3000), (3000, 4000), (4000, 4500), None]
    ingest.write_at(1000, _DATA[1000:1800])
    ingest.release(2000)
    assert ingest.claim() == (1800, 2000)
    assert (ingest.offset, ingest.arrived) == (300, 1100)
    ingest.write_at(300, _DATA[300:1000])
    assert ingest.offset == 1800
    for start in (4000, 3000, 2000):
        ingest.write_at(start, _DATA[start : start + _PIECE])
    ingest.write_at(1800, _DATA[1800:2000])
    assert ingest.offset == len(_DATA)
    ingest.commit(_DIGEST, len(_DATA))
    assert names(tmp_path) == []
    assert store.size(_DIGEST) == len(_DATA)


def test_what_was_there_is_there_after_a_crash(store: ContentStore, tmp_path: Path) -> None:
    first = store.ingest("ref")
    first.split(len(_DATA))
    first.write_at(0, _DATA[:10])
    first.write_at(2000, _DATA[2000:2500])
    first.write_at(4000, _DATA[4000:])
    first.close()
    again = store.ingest("ref")
    again.split(len(_DATA))
    assert (again.offset, again.arrived) == (10, 1010)
    assert [again.claim() for _ in range(5)] == [(10, 1000), (1000, 2000), (2500, 3000), (3000, 4000), None]
    for start in (10, 1000, 2500, 3000):
        again.write_at(start, _DATA[start : (start // _PIECE + 1) * _PIECE])
    again.commit(_DIGEST, len(_DATA))
    assert names(tmp_path) == []


def test_in_order_writing_goes_on_over_what_came_in_ranges(store: ContentStore) -> None:
    ingest = store.ingest("ref")
    ingest.split(len(_DATA))
    ingest.write_at(1000, _DATA[1000:2000])
    while ingest.offset < len(_DATA):
        ingest.write(_DATA[ingest.offset : ingest.offset + 700])
    ingest.commit(_DIGEST, len(_DATA))


def test_a_wrong_byte_in_any_range_is_found(store: ContentStore, tmp_path: Path) -> None:
    ingest = store.ingest("ref")
    ingest.split(len(_DATA))
    for start in range(0, len(_DATA), _PIECE):
        data = bytearray(_DATA[start : start + _PIECE])
        data[-1] ^= start == 2000
        ingest.write_at(start, bytes(data))
    with pytest.raises(DataLoss):
        ingest.commit(_DIGEST, len(_DATA))
    assert names(tmp_path) == []


@pytest.mark.parametrize("damage", [b"", b"x" * 40, b"CTPIECES" + b"\xff" * 16])
def test_an_account_that_cannot_be_is_not_believed(store: ContentStore, tmp_path: Path, damage: bytes) -> None:
    first = store.ingest("ref")
    first.split(len(_DATA))
    first.write_at(0, _DATA[:100])
    first.close()
    (account,) = (tmp_path / "ingest").glob("*.pieces")
    account.write_bytes(damage)
    again = store.ingest("ref")
    assert again.offset == 100
    again.close()


def test_an_account_without_its_bytes_is_not_believed(store: ContentStore, tmp_path: Path) -> None:
    first = store.ingest("ref")
    first.split(len(_DATA))
    first.write_at(2000, _DATA[2000:])
    first.close()
    (blob,) = (path for path in (tmp_path / "ingest").iterdir() if path.suffix != ".pieces")
    blob.unlink()
    again = store.ingest("ref")
    assert again.arrived == 0
    again.close()


def test_the_sweep_takes_bytes_and_account_together(store: ContentStore, tmp_path: Path) -> None:
    first = store.ingest("ref")
    first.split(len(_DATA))
    first.write_at(2000, _DATA[2000:])
    store.sweep(older_than_s=-60)  # still being written
    assert len(names(tmp_path)) == 2
    first.close()
    store.sweep(older_than_s=-60)
    assert names(tmp_path) == []


def test_a_reader_beside_the_writer_sees_what_is_there(store: ContentStore) -> None:
    ingest = store.ingest("ref")
    ingest.write(_DATA[:2000])
    fd = ingest.reader()
    ingest.close()
    again = store.ingest("ref")  # the reader does not hold the lock
    again.write(_DATA[2000:])
    again.commit(_DIGEST, len(_DATA))
    assert os.pread(fd, len(_DATA), 0) == _DATA
    os.close(fd)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5000), st.lists(st.integers(1, 900), max_size=40), st.integers(0, 5000))
def test_whatever_order_the_bytes_come_in_they_are_counted_right(
    tmp_path_factory: pytest.TempPathFactory, size: int, steps: list[int], prefix: int
) -> None:
    folder = tmp_path_factory.mktemp("pieces")
    account = Pieces.create(pieces_path(folder / "x"), size, min(prefix, size))
    there = set(range(min(prefix, size)))
    for number, step in enumerate(steps):
        claim = account.claim()
        if claim is None:
            break
        start, end = claim
        assert start not in there
        count = min(step, end - start)
        account.record(start, count)
        there |= set(range(start, start + count))
        if number % 3:
            account.release(end)
    assert account.arrived == len(there)
    gaps = (position for position in range(size + 1) if position not in there)
    assert account.prefix == next(gaps)
    account.close()
    again = Pieces.load(pieces_path(folder / "x"), size)
    assert again is not None
    assert (again.prefix, again.arrived) == (account.prefix, len(there))
    again.close()
