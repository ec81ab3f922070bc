"""When a file's hash may be remembered: never when a later write could leave size and times as they are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.build.trees import hashes
from corten.build.trees.hashes import HashMemory, is_settled

SECOND = 1_000_000_000
GRANULARITIES = st.sampled_from([1, 1_000_000, 4_000_000, 10_000_000, SECOND, 2 * SECOND])
KEY = (1, 2, 3, 4, 5)


@given(
    granularity=GRANULARITIES,
    written_ns=st.integers(SECOND, 10 * SECOND),
    read_after_ns=st.integers(0, 5 * SECOND),
    again_after_ns=st.integers(0, 5 * SECOND),
    kept_mtime=st.booleans(),
)
def test_after_a_settled_reading_every_write_shows(
    granularity: int, written_ns: int, read_after_ns: int, again_after_ns: int, kept_mtime: bool
) -> None:
    """A file system's clock ticks at `granularity`; a writer may put the old mtime back, but never the ctime."""

    def tick(time_ns: int) -> int:
        return time_ns // granularity * granularity

    mtime_ns = ctime_ns = tick(written_ns)
    read_ns = written_ns + read_after_ns
    if not is_settled(mtime_ns, ctime_ns, read_ns):
        return
    again_ns = read_ns + again_after_ns
    later = (mtime_ns if kept_mtime else tick(again_ns), tick(again_ns))
    assert later != (mtime_ns, ctime_ns)


@given(st.integers(0, 10 * SECOND), st.integers(0, 10 * SECOND), st.integers(0, 10 * SECOND))
def test_what_is_not_older_than_the_reading_is_never_settled(mtime_ns: int, ctime_ns: int, read_ns: int) -> None:
    if max(mtime_ns, ctime_ns) >= read_ns:
        assert not is_settled(mtime_ns, ctime_ns, read_ns)


def test_old_files_are_settled_whatever_their_file_system() -> None:
    assert is_settled(SECOND + 1, SECOND + 1, 2 * SECOND)
    assert is_settled(SECOND, SECOND, 4 * SECOND)
    assert not is_settled(SECOND, SECOND, 3 * SECOND)


@pytest.fixture
def memory(tmp_path: Path) -> HashMemory:
    return HashMemory(tmp_path / "hashes")


@pytest.fixture
def context(tmp_path: Path) -> int:
    return os.open(tmp_path, os.O_RDONLY)


@given(
    st.dictionaries(
        st.tuples(*[st.integers(0, 2**64 - 1)] * 3, *[st.integers(-(2**63), 2**63 - 1)] * 2),
        st.binary(min_size=32, max_size=32),
    ),
    st.dictionaries(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32)),
)
def test_what_is_saved_is_known_again(tmp_path_factory, files, trees) -> None:
    path = tmp_path_factory.mktemp("hashes") / "sub" / "one"
    first = hashes.ContextHashes(path)
    for key, digest in files.items():
        first.put_file(key, digest)
    for seen, digest in trees.items():
        first.put_tree(seen, digest)
    first.save()
    second = hashes.ContextHashes(path)
    assert [second.tree(seen) for seen in trees] == list(trees.values())
    assert [second.file(key) for key in files] == list(files.values())
    assert second.file(KEY) is files.get(tuple(KEY))


def test_contexts_and_their_readers_know_nothing_of_each_other(
    memory: HashMemory, context: int, tmp_path: Path
) -> None:
    one = memory.open(context, 0)
    one.put_file(KEY, b"x" * 32)
    one.save()
    assert memory.open(context, 0).file(KEY) == b"x" * 32
    assert memory.open(context, 1000).file(KEY) is None
    (tmp_path / "other").mkdir()
    assert memory.open(os.open(tmp_path / "other", os.O_RDONLY), 0).file(KEY) is None


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: data[:60] + b"!" + data[61:], lambda _: b""])
def test_a_damaged_file_is_an_empty_one(memory: HashMemory, context: int, tmp_path: Path, damage) -> None:
    one = memory.open(context, 0)
    one.put_file(KEY, b"x" * 32)
    one.save()
    (file,) = (tmp_path / "hashes").iterdir()
    file.write_bytes(damage(file.read_bytes()))
    assert memory.open(context, 0).file(KEY) is None


def test_all_is_bounded_and_pruned(
    memory: HashMemory, context: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashes, "_FILES_LIMIT", 10)
    monkeypatch.setattr(hashes, "_TREES_LIMIT", 3)
    monkeypatch.setattr(hashes, "_CONTEXTS_LIMIT", 4)
    old = memory.open(context, 0)
    for number in range(10):
        old.put_file((number, 0, 0, 0, 0), bytes(32))
        old.put_tree(bytes([number]) * 32, bytes(32))
    old.save()
    assert [n for n in range(10) if memory.open(context, 0).tree(bytes([n]) * 32)] == [7, 8, 9]
    new = memory.open(context, 0)
    assert new.file((3, 0, 0, 0, 0))
    new.put_file((77, 0, 0, 0, 0), bytes(32))
    new.save()
    kept = memory.open(context, 0)
    assert [n for n in (*range(10), 77) if kept.file((n, 0, 0, 0, 0))] == [3, 77]
    for uid in range(10):
        other = memory.open(context, uid)
        other.put_tree(bytes(32), bytes(32))
        other.save()
    assert len(list((tmp_path / "hashes").iterdir())) == 4
    assert memory.prune() > 0
    assert list((tmp_path / "hashes").iterdir()) == []
    assert memory.prune() == 0
