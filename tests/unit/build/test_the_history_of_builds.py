"""What is kept of builds that there were, for how long, and what clients find of it."""

from __future__ import annotations

import asyncio
import errno
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.build.buildkit.history.bounds import AGE_S, MOST, MOST_BYTES, NEWEST, Kept, to_forget
from corten.build.buildkit.history.history import History
from corten.build.buildkit.history.recording import Recorder, Recording, log_of, messages_of
from corten.build.buildkit.history.redaction import written_down
from corten.build.buildkit.history.selection import newest, selection, status_of
from corten.build.buildkit.history.store import HistoryStore
from corten.build.buildkit.jobs import BuildJob
from corten.build.buildkit.messages.control import SolveRequest, StatusResponse
from corten.build.buildkit.messages.history import COMPLETE, DELETED, STARTED, Descriptor, Record, ResultInfo
from corten.build.buildkit.messages.types import Attributed, Timestamp
from corten.build.status.board import StatusBoard
from corten.errors import InvalidArgument, NotFound
from corten.lib.grpc.status import Code, GrpcError, Status
from corten.lib.protobuf.wire import decode, encode
from corten.spec.digest import digest_of

NOW = 1_800_000_000


def over(ref: str, began: int = NOW - 60, ended: int = NOW - 50, code: int = 0, **attributes: str) -> Record:
    error = Status(code=code, message="why") if code else None
    return Record(
        ref=ref, created_at=Timestamp(seconds=began), completed_at=Timestamp(seconds=ended), error=error,
        frontend_attrs=attributes,
    )  # fmt: skip


# -- bounds


def test_a_record_goes_that_is_neither_new_nor_among_the_newest() -> None:
    old = [Kept(ref=f"old{n}", ended_s=NOW - AGE_S - n - 1, size=1) for n in range(NEWEST + 2)]
    assert to_forget(old, NOW) == [f"old{NEWEST + 1}", f"old{NEWEST}"]
    assert to_forget(old[:NEWEST], NOW) == []
    young = [Kept(ref=f"young{n}", ended_s=NOW - n, size=1) for n in range(NEWEST + 2)]
    assert to_forget(young, NOW) == []


def test_pinned_records_stay() -> None:
    old = [Kept(ref=f"old{n}", ended_s=n, size=1, pinned=n < 5) for n in range(NEWEST + 10)]
    assert to_forget(old, NOW) == [f"old{n}" for n in range(5, 10)]


@given(st.lists(st.tuples(st.integers(0, NOW), st.integers(0, MOST_BYTES)), max_size=40))
def test_what_stays_has_an_end(sizes: list[tuple[int, int]]) -> None:
    records = [Kept(ref=str(n), ended_s=ended, size=size) for n, (ended, size) in enumerate(sizes)]
    gone = to_forget(records, NOW)
    assert sum(one.size for one in records if one.ref not in gone) <= MOST_BYTES
    assert set(gone) <= {one.ref for one in records}


def test_there_are_so_many_at_most() -> None:
    assert len(to_forget([Kept(ref=str(n), ended_s=NOW, size=1) for n in range(MOST + 3)], NOW)) == 3


# -- selection


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ([], ["a", "b", "c", "d"]),
        ([""], ["a", "b", "c", "d"]),
        (["status==completed"], ["a"]),
        (["status==error", "status==canceled"], ["b", "c"]),
        (["status!=running"], ["a", "b", "c"]),
        (["ref~=b"], ["b"]),
        (['status==error,ref=="b"'], ["b"]),
        (["status==error,ref==c"], []),
        (["repository~=example.com"], ["a"]),
        (["duration>1m"], ["b"]),
        (["startedAt>=2m"], ["a", "c", "d"]),
        (["startedAt<2027-01-15T07:57:00Z"], ["b"]),
    ],
)
def test_records_are_chosen_by_filters(filters: list[str], found: list[str]) -> None:
    records = [
        over("a", context="https://example.com/app.git#main"),
        over("b", began=NOW - 200, code=Code.UNKNOWN),
        over("c", code=Code.CANCELLED),
        Record(ref="d", created_at=Timestamp(seconds=NOW - 5)),
    ]
    chosen = selection(filters, NOW)
    assert [record.ref for record in records if chosen(record)] == found


@pytest.mark.parametrize("text", ["x", "ref", "status>1h", "startedAt==1h", "startedAt>=soon", "duration>1", 'ref=="a'])
def test_what_is_no_filter_is_refused(text: str) -> None:
    if text.startswith('ref=="'):  # a quote that is open is CSV's last field
        assert selection([text], NOW)(over("a"))
        return
    with pytest.raises(InvalidArgument):
        selection([text], NOW)


@pytest.mark.parametrize("filters", [["startedAt>=" + "1" * 1025], ["ref==x"] * 65], ids=["long", "many"])
def test_filters_are_bounded(filters: list[str]) -> None:
    with pytest.raises(InvalidArgument, match="at most 64 filters of 1024 characters"):
        selection(filters, NOW)


def test_the_newest_come_with_a_limit() -> None:
    records = [over(str(n), began=n) for n in (3, 1, 2)]
    assert [one.ref for one in newest(records, 2)] == ["2", "3"]
    assert [one.ref for one in newest(records, 0)] == ["1", "2", "3"]
    with pytest.raises(InvalidArgument):
        newest(records, -1)


def test_a_build_is_canceled_by_its_code_and_not_by_what_it_says() -> None:
    said = over("a", code=Code.UNKNOWN)
    assert said.error is not None
    said.error.message = "context canceled, said the step"
    assert status_of(said) == "error"


# -- what may be written down


def test_no_passwords_are_written_down() -> None:
    imports = [
        {"Type": "registry", "Attrs": {"ref": "r/x:1", "secret_access_key": "KEY"}},
        {"Type": "s3", "Attrs": None},
    ]
    written = written_down(
        {
            "context": "https://me:PASS@example.com/x.git",
            "build-arg:http_proxy": "http://u:PASS@proxy:3128",
            "build-arg:V": "1",
            "cache-imports": json.dumps(imports),
        }
    )
    assert "PASS" not in str(written)
    assert "KEY" not in str(written)
    assert written["build-arg:V"] == "1"
    assert json.loads(written["cache-imports"])[0] == {"Type": "registry", "Attrs": {"ref": "r/x:1"}}
    assert written_down({"cache-imports": "no json KEY"}) == {"cache-imports": ""}


def test_what_is_written_down_is_bounded() -> None:
    written = written_down({f"build-arg:{number}": "x" * (1 << 20) for number in range(100)})
    assert sum(map(len, written.values())) <= 64 << 10
    assert written["build-arg:0"]


# -- logs


class _Never:
    """What is not reached."""


def test_a_record_has_a_bound_and_no_passwords_whatever_fails() -> None:
    exporters = [Attributed(type="x" * 10_000, attrs={"name": "https://me:pw@host/x"})] * 1000
    request = SolveRequest(ref="r", frontend="f" * 1_000_000, exporters=exporters)
    never: Any = _Never()
    recording = Recording(request, history=never, finisher=never, library=never)
    recording.failed(GrpcError(Code.UNKNOWN, "cannot fetch https://me:pw@host/x"))
    raw = encode(recording._record)
    assert len(raw) < 100_000
    assert b"pw" not in raw + b"".join(recording._blobs.values())


async def test_a_build_that_went_well_has_gone_well_whatever_its_record_lacks(caplog: pytest.LogCaptureFixture) -> None:
    class Failing:
        async def recorded(self, *_what: object) -> list[object]:
            raise OSError("the disk is broken")

    history: Any = SimpleNamespace(begun=lambda _record: None)
    finisher: Any = Failing()
    never: Any = None
    job: Any = SimpleNamespace(board=StatusBoard(), answers=(), exported=(SimpleNamespace(options=None), never, never))
    recording = Recording(SolveRequest(ref="r"), history=history, finisher=finisher, library=never)
    recording.begun(job)
    await recording.done(job, {"a": "b"})
    assert "the record of a build is not complete: the disk is broken" in caplog.text
    assert recording._record.exporter_response == {"a": "b"}


def test_a_log_is_read_as_it_was_told() -> None:
    board = StatusBoard()
    board.announce("sha256:1", "step")
    board.started("sha256:1")
    for piece in range(3):
        board.output("sha256:1", 1, str(piece).encode() * (1 << 20))
    board.completed("sha256:1")
    board.end()
    messages = [decode(StatusResponse, raw) for raw in messages_of(b"".join(log_of(board)))]
    assert len(messages) > 1
    assert b"".join(log.msg for one in messages for log in one.logs) == b"".join(
        str(piece).encode() * (1 << 20) for piece in range(3)
    )
    assert messages[-1].vertexes[-1].completed is not None


@given(st.binary(max_size=64))
def test_a_damaged_log_ends(raw: bytes) -> None:
    assert sum(map(len, messages_of(raw))) <= len(raw)


# -- the disk


def test_records_come_back_with_their_blobs(tmp_path: Path) -> None:
    store = HistoryStore(tmp_path / "history")
    assert list(store.load()) == []
    raw = b"log" * 10
    digest = digest_of(raw)
    record = over("../../etc", context="c")
    record.logs = Descriptor(digest=digest, size=len(raw))
    record.results = {"linux/amd64": ResultInfo(results={0: Descriptor(digest=digest, size=30)})}
    size = store.write(record, {digest: raw})
    assert list(HistoryStore(tmp_path / "history").load()) == [(record, size, {digest: 30})]
    assert store.read("../../etc", digest, 3, 6) == b"loglog"
    store.remove("../../etc")
    assert list(store.load()) == []
    assert list((tmp_path / "history").iterdir()) == []


def test_a_build_of_the_same_name_takes_the_place(tmp_path: Path) -> None:
    store = HistoryStore(tmp_path)
    store.write(over("a"), {digest_of(b"x"): b"x"})
    size = store.write(over("a", ended=NOW), {digest_of(b"y"): b"y"})
    assert list(store.load()) == [(over("a", ended=NOW), size, {digest_of(b"y"): 1})]


async def test_a_record_that_cannot_be_written_is_no_record(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    history = History(HistoryStore(tmp_path / "file/history"))
    history.ended(over("a"), dict)
    assert await history.find("a") is None

    def broken() -> dict[str, bytes]:
        raise ValueError("no form")

    history.ended(over("b"), broken)
    assert await history.find("b") is None


@pytest.mark.parametrize("damage", ["none", "torn", "another"])
def test_what_a_killed_daemon_left_is_deleted(tmp_path: Path, damage: str) -> None:
    store = HistoryStore(tmp_path)
    store.write(over("a"), {digest_of(b"x"): b"x"})
    (place,) = tmp_path.iterdir()
    if damage == "none":
        (place / "record").unlink()
    elif damage == "torn":
        (place / "record").write_bytes(b"\xff\xff")
    else:
        place.rename(tmp_path / ("0" * 64))
    assert list(store.load()) == []
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_read_at_the_moment_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = HistoryStore(tmp_path)
    size = store.write(over("a"), {digest_of(b"x"): b"x"})

    def full(_path: Path) -> bytes:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", full)
        assert list(store.load()) == []
    assert list(store.load()) == [(over("a"), size, {digest_of(b"x"): 1})]


def test_what_cannot_be_kept_leaves_nothing(tmp_path: Path) -> None:
    store = HistoryStore(tmp_path)
    with pytest.raises(TypeError):
        store.write(over("a"), {digest_of(b"x"): b"x", digest_of(b"y"): None})  # type: ignore[dict-item]
    assert list(tmp_path.iterdir()) == []


async def test_a_result_that_cannot_be_looked_at_is_no_trouble_of_its_build(tmp_path: Path) -> None:
    class Failing:
        async def recorded(self, *_args: object) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    request, history = SolveRequest(ref="a"), History(HistoryStore(tmp_path))
    recorder = Recorder(history=history, finisher=Failing(), library=Any)  # type: ignore[arg-type]
    async with recorder.recording(request) as recording:
        job = BuildJob(request=request)
        recording.begun(job)
        job.exported = SimpleNamespace(options=None), SimpleNamespace(), SimpleNamespace()  # type: ignore[assignment]
        await recording.done(job, {"image.name": "x"})
        await job.end()
    found = await history.find("a")
    assert found is not None
    assert found.error is None
    assert found.exporter_response == {"image.name": "x"}


# -- who listens


async def test_listeners_hear_of_builds(tmp_path: Path) -> None:
    history = History(HistoryStore(tmp_path))
    events = history.listen(filters=[], active=False, once=False)
    first = asyncio.ensure_future(anext(events))
    record = Record(ref="a", created_at=Timestamp(seconds=NOW))

    while not history.listeners:
        await asyncio.sleep(0)
    history.begun(record)
    assert (await first).type == STARTED
    record.completed_at = Timestamp(seconds=NOW + 1)
    history.ended(record, lambda: {digest_of(b"x"): b"x"})
    event = await anext(events)
    assert (event.type, event.record) == (COMPLETE, record)
    assert await history.size(digest_of(b"x")) == 1
    await history.delete("a")
    event = await anext(events)
    assert event.type == DELETED
    assert event.record is not None
    assert event.record.ref == "a"
    await events.aclose()
    with pytest.raises(NotFound):
        await history.size(digest_of(b"x"))
    with pytest.raises(NotFound):
        await history.pin("a", True)


async def test_a_pin_that_cannot_be_written_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = HistoryStore(tmp_path)
    history = History(store)
    history.ended(over("a"), dict)

    def full(_record: Record) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(store, "update", full)
    with pytest.raises(OSError, match="No space left"):
        await history.pin("a", True)
    assert await history.find("a") == over("a")


async def test_a_record_that_is_pinned_stays_so(tmp_path: Path) -> None:
    history = History(HistoryStore(tmp_path))
    history.ended(over("a", ended=1), dict)
    await history.pin("a", True)
    found = await History(HistoryStore(tmp_path)).find("a")
    assert found is not None
    assert found.pinned


async def test_a_record_that_could_not_be_pinned_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history = History(HistoryStore(tmp_path))
    history.ended(over("a"), dict)
    assert await history.find("a") is not None

    def full(_store: HistoryStore, _record: Record) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(HistoryStore, "update", full)
    with pytest.raises(OSError, match="no space"):
        await history.pin("a", True)
    record = await history.find("a")
    assert record is not None
    assert not record.pinned
