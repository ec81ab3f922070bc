"""Reading logs that the shim's writer makes, while it rotates them."""

import json
import os
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corten.logging_drivers.json_file import JsonFileReader
from corten.logging_drivers.record import LogRecord, Selection, decode, fixed_time
from corten.shim.logs import JsonFileLog


def line(text, second=0, stream="stdout"):
    return json.dumps({"log": text, "stream": stream, "time": fixed_time(second * 10**9)}) + "\n"


def read_all(path, *, tail=-1, **chosen):
    reader = JsonFileReader(str(path), tail=tail, selection=Selection(**chosen))
    try:
        found = []
        while records := reader.read():
            found += records
        return [record.log for record in found]
    finally:
        reader.close()


@pytest.fixture
def log(tmp_path):
    return tmp_path / "x-json.log"


def test_a_missing_log_is_empty(log):
    assert read_all(log) == []


def test_records_in_order(log):
    log.write_text("".join(line(f"{n}\n", n) for n in range(10_000)))
    assert read_all(log) == [f"{n}\n" for n in range(10_000)]


@given(count=st.integers(0, 40), tail=st.integers(0, 45), width=st.integers(1, 20_000), rotated=st.integers(0, 40))
@settings(max_examples=40, deadline=None)
def test_tail_is_the_last_records_over_all_files(tmp_path_factory, count, tail, width, rotated):
    path = tmp_path_factory.mktemp("log") / "x.log"
    texts = [f"{n}" + "x" * (width if n % 7 == 0 else 3) + "\n" for n in range(count)]
    old, new = texts[:rotated], texts[rotated:]
    if old:
        path.with_name("x.log.1").write_text("".join(map(line, old)))
    path.write_text("".join(map(line, new)))
    assert read_all(path, tail=tail) == (texts[-tail:] if tail else [])


def test_since_and_until(log):
    log.write_text("".join(line(f"{n}", n) for n in range(10)))
    assert read_all(log, since=fixed_time(7 * 10**9)) == ["7", "8", "9"]
    assert read_all(log, until=fixed_time(2 * 10**9)) == ["0", "1", "2"]
    reader = JsonFileReader(str(log), selection=Selection(until=fixed_time(2 * 10**9)))
    reader.read()
    assert reader.finished
    reader.close()


def test_times_of_other_forms_are_understood():
    assert (
        decode(b'{"log":"a","stream":"stdout","time":"2006-01-02T15:04:05.5Z"}').time
        == "2006-01-02T15:04:05.500000000Z"
    )
    assert (
        decode(b'{"log":"a","stream":"stdout","time":"2006-01-02T16:04:05+01:00"}').time
        == "2006-01-02T15:04:05.000000000Z"
    )


@pytest.mark.parametrize(
    "bad", ["", "{", "[]", "null", '{"log":1}', '{"log":"x","time":"never"}', "\x00" * 50, "[" * 5000]
)
def test_broken_lines_are_left_out(log, bad):
    log.write_text(line("a") + bad + "\n" + line("b"))
    assert read_all(log) == ["a", "b"]


def test_an_unfinished_line_waits_for_its_end(log):
    whole = line("late\n")
    log.write_text(line("first\n") + whole[:20])
    reader = JsonFileReader(str(log), selection=Selection())
    assert [r.log for r in reader.follow()] == ["first\n"]
    assert reader.follow() == []
    with open(log, "a") as file:
        file.write(whole[20:])
    assert [r.log for r in reader.follow()] == ["late\n"]
    reader.close()


def test_following_over_rotations_loses_and_repeats_nothing(log):
    writer = JsonFileLog(str(log), max_size=2_000, max_file=50)
    count = 3_000
    done = threading.Event()

    def write():
        for number in range(count):
            writer.write("stdout", b"%d\n" % number)
        writer.close()
        done.set()

    reader = JsonFileReader(str(log), selection=Selection())
    thread = threading.Thread(target=write)
    thread.start()
    found = []
    while True:
        over = done.is_set()
        records = reader.follow()
        found += [int(record.log) for record in records]
        if over and not records:
            break
    thread.join()
    reader.close()
    # More than the 50 files may have been rotated away under the reader, but what it saw is in order and ends right.
    assert found == sorted(set(found))
    assert found[-1] == count - 1


def test_a_reader_that_keeps_up_sees_every_record(log):
    writer = JsonFileLog(str(log), max_size=500, max_file=3)
    reader = JsonFileReader(str(log), selection=Selection())
    found = []
    for number in range(500):
        writer.write("stdout", b"%d\n" % number)
        while records := reader.follow():
            found += [int(record.log) for record in records]
    writer.close()
    reader.close()
    assert found == list(range(500))


def test_a_log_of_one_file_that_is_emptied_goes_on(log):
    log.write_text(line("a" * 100))
    reader = JsonFileReader(str(log), selection=Selection())
    assert len(reader.follow()) == 1
    os.truncate(log, 0)
    with open(log, "a") as file:
        file.write(line("b"))
    assert [record.log for record in reader.follow()] == ["b"]
    reader.close()


def test_a_link_in_place_of_the_log_is_not_followed(log, tmp_path):
    (tmp_path / "secret").write_text(line("secret"))
    log.symlink_to(tmp_path / "secret")
    assert read_all(log) == []


def test_reading_after_close_gives_nothing(log):
    log.write_text(line("a"))
    reader = JsonFileReader(str(log), selection=Selection())
    reader.close()
    assert reader.read() == []
    assert reader.follow() == []


RECORDS = [
    LogRecord(log="out\n", stream="stdout", time=fixed_time(1), attrs={"b": "2", "a": "1"}),
    LogRecord(log="err\n", stream="stderr", time=fixed_time(2)),
]


def test_frames():
    assert Selection().render(RECORDS) == b"\x01\0\0\0\0\0\0\x04out\n\x02\0\0\0\0\0\0\x04err\n"


def test_raw_for_a_terminal():
    assert Selection(framed=False).render(RECORDS) == b"out\nerr\n"


def test_one_stream():
    assert Selection(framed=False, stdout=False).render(RECORDS) == b"err\n"


def test_timestamps_and_details_stand_before_the_text():
    data = Selection(framed=False, timestamps=True, details=True).render(RECORDS)
    assert data == b"1970-01-01T00:00:00.000000001Z a=1,b=2 out\n1970-01-01T00:00:00.000000002Z  err\n"


@given(st.lists(st.binary(max_size=40_000), max_size=20))
@settings(deadline=None, max_examples=40)
def test_what_the_shim_writes_is_what_is_read(tmp_path_factory, pieces):
    path = tmp_path_factory.mktemp("log") / "x.log"
    writer = JsonFileLog(str(path))
    for piece in pieces:
        writer.write("stdout", piece)
    writer.close()
    joined = b"".join(pieces)
    text = "".join(read_all(path))
    try:
        assert text == joined.decode()
    except UnicodeDecodeError:
        assert "\ufffd" in text
