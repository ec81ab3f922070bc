"""Blobs: verified, whole or not there, in the order that survives a power cut, whoever writes at the same time."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import pytest

from corten.errors import Conflict, DataLoss, InvalidArgument, NotFound
from corten.store.content import ContentStore

_DATA = b"content" * 1000


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@pytest.fixture
def store(tmp_path: Path) -> ContentStore:
    return ContentStore(tmp_path)


def put(store: ContentStore, data: bytes, ref: str = "ref") -> str:
    ingest = store.ingest(ref)
    ingest.write(data)
    ingest.commit(digest(data), len(data))
    return digest(data)


def test_a_blob_is_there_when_it_was_verified(store: ContentStore, tmp_path: Path) -> None:
    name = put(store, _DATA)
    with store.open(name) as file:
        assert file.read() == _DATA
    assert store.size(name) == len(_DATA)
    assert list(store.digests()) == [name]
    assert os.listdir(tmp_path / "ingest") == []
    store.remove(name)
    store.remove(name)
    assert store.size(name) is None
    with pytest.raises(NotFound):
        store.open(name)


@pytest.mark.parametrize(("wanted", "size"), [(_DATA + b"x", len(_DATA)), (_DATA, len(_DATA) - 1)])
def test_other_bytes_are_forgotten(store: ContentStore, tmp_path: Path, wanted: bytes, size: int) -> None:
    ingest = store.ingest("ref")
    ingest.write(_DATA)
    with pytest.raises(DataLoss):
        ingest.commit(digest(wanted), size)
    assert os.listdir(tmp_path / "ingest") == []
    assert list(store.digests()) == []


def test_what_breaks_off_goes_on(store: ContentStore, tmp_path: Path) -> None:
    first = store.ingest("ref")
    first.write(_DATA[:3000])
    first.close()
    again = ContentStore(tmp_path).ingest("ref")
    assert again.offset == 3000
    again.write(_DATA[3000:])
    again.commit(digest(_DATA), len(_DATA))
    again.close()
    again.abort()
    assert store.size(digest(_DATA)) == len(_DATA)


def test_damage_of_what_broke_off_is_found(store: ContentStore, tmp_path: Path) -> None:
    first = store.ingest("ref")
    first.write(_DATA[:3000])
    first.close()
    (left,) = (tmp_path / "ingest").iterdir()
    left.write_bytes(b"damaged" + left.read_bytes()[7:])
    again = store.ingest("ref")
    again.write(_DATA[3000:])
    with pytest.raises(DataLoss):
        again.commit(digest(_DATA), len(_DATA))
    assert store.ingest("ref").offset == 0


def test_the_order_of_a_commit_survives_a_power_cut(store: ContentStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """fsync of the file, rename, fsync of the directory; the real calls are made."""
    calls: list[str] = []
    fsync, rename = os.fsync, os.rename

    def seen_fsync(fd: int) -> None:
        path = os.readlink(f"/proc/self/fd/{fd}")
        calls.append(f"fsync {Path(path).name if Path(path).is_dir() else Path(path).parent.name}")
        fsync(fd)

    def seen_rename(source: str, target: str) -> None:
        calls.append("rename")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", seen_fsync)
    monkeypatch.setattr(os, "rename", seen_rename)
    put(store, _DATA)
    assert calls == ["fsync ingest", "rename", "fsync sha256"]


def test_one_writes_a_ref_at_a_time(store: ContentStore) -> None:
    first = store.ingest("ref")
    with pytest.raises(Conflict):
        store.ingest("ref")
    first.abort()
    store.ingest("ref").abort()


def test_who_waited_for_a_writer_does_not_write_into_its_blob(store: ContentStore, tmp_path: Path) -> None:
    """Between opening and locking an ingest its writer may commit: the file is a blob by then."""
    stop, errors = threading.Event(), list[BaseException]()

    def write(number: int) -> None:
        try:
            while not stop.is_set():
                try:
                    ingest = store.ingest("shared")
                except Conflict:
                    continue
                data = b"%d" % number * 10 if ingest.offset == 0 else b""
                ingest.write(data)
                if ingest.offset == 10:
                    ingest.commit(digest(b"%d" % number * 10), 10)
                ingest.abort()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(300):
        for name in list(store.digests()):
            assert digest(store.path(name).read_bytes()) == name
    stop.set()
    for thread in threads:
        thread.join()
    assert errors == []
    assert os.listdir(tmp_path / "ingest") == []


def test_the_same_blob_of_two_refs_is_one(store: ContentStore) -> None:
    one, two = store.ingest("one"), store.ingest("two")
    for ingest in (one, two):
        ingest.write(_DATA)
    for ingest in (one, two):
        ingest.commit(digest(_DATA), len(_DATA))
    assert list(store.digests()) == [digest(_DATA)]


@pytest.mark.parametrize(
    "name", ["", "sha256:", "sha256:../../etc", "sha512:" + "0" * 128, "sha256:" + "A" * 64, "x" * 71]
)
def test_what_is_no_digest_names_no_file(store: ContentStore, name: str) -> None:
    with pytest.raises(InvalidArgument):
        store.path(name)


def test_foreign_files_are_no_blobs(store: ContentStore, tmp_path: Path) -> None:
    (tmp_path / "blobs/sha256/stray").touch()
    assert list(store.digests()) == []


def test_sweeping_keeps_what_is_written_or_recent(store: ContentStore, tmp_path: Path) -> None:
    for ref in ("old", "recent", "busy"):
        ingest = store.ingest(ref)
        ingest.write(b"half")
        ingest.close()
    busy = store.ingest("busy")
    for path in (tmp_path / "ingest").iterdir():
        os.utime(path, (0, 0))
    recent = store.ingest("recent")
    recent.write(b"more")
    recent.close()
    store.sweep(older_than_s=3600)
    assert sorted(os.listdir(tmp_path / "ingest")) == sorted(
        hashlib.sha256(ref).hexdigest() for ref in (b"recent", b"busy")
    )
    busy.close()
