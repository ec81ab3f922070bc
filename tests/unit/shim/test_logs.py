"""The json-file log: what was written is what is read, whatever the chunks."""

import json
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from corten.shim.logs import JsonFileLog, replay


def records(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


@settings(deadline=None, max_examples=60)
@given(chunks=st.lists(st.tuples(st.sampled_from(["stdout", "stderr"]), st.binary(max_size=60)), max_size=20))
def test_each_stream_reads_back_whole(tmp_path_factory, chunks) -> None:
    path = tmp_path_factory.mktemp("log") / "x.log"
    log = JsonFileLog(str(path))
    for stream, data in chunks:
        log.write(stream, data)
    log.close()
    for stream in ("stdout", "stderr"):
        written = b"".join(data for name, data in chunks if name == stream)
        read = "".join(record["log"] for record in records(path) if record["stream"] == stream)
        lines = [line.decode("utf-8", "replace") for line in written.split(b"\n")]
        assert read == "\n".join(lines)
        assert b"".join(data for name, data in replay(str(path)) if name == stream) == read.encode()


def test_long_lines_are_split_into_partial_records(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    log = JsonFileLog(str(path))
    for _ in range(5):
        log.write("stdout", b"a" * 10_000)
    log.write("stdout", b"\nend\n")
    log.close()
    texts = [record["log"] for record in records(path)]
    assert [len(text) for text in texts[:3]] == [16384, 16384, 16384]
    assert "".join(texts) == "a" * 50_000 + "\nend\n"
    assert not texts[0].endswith("\n")


def test_rotation_keeps_max_file_files(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    log = JsonFileLog(str(path), max_size=1000, max_file=3)
    for number in range(100):
        log.write("stdout", f"line {number}\n".encode())
    log.close()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["x.log", "x.log.1", "x.log.2"]
    assert all(entry.stat().st_size <= 1000 for entry in tmp_path.iterdir())
    assert [data for _stream, data in replay(str(path))][-1] == b"line 99\n"


def test_a_full_disk_loses_records_and_nothing_else(tmp_path: Path) -> None:
    log = JsonFileLog("/dev/full")
    log.write("stdout", b"lost\n")
    log.close()


def test_time_is_rfc3339_with_nanoseconds(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    log = JsonFileLog(str(path))
    log.write("stderr", b"x\n")
    log.close()
    (record,) = records(path)
    assert record["stream"] == "stderr"
    assert len(record["time"]) == len("2026-11-23T22:07:19.277727023Z")
    assert record["time"].endswith("Z")
