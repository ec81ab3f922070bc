"""Times of the API."""

import contextlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.errors import InvalidArgument
from corten.lib.timestamps import parse_duration, parse_rfc3339, parse_timestamp, rfc3339_nano

NOW = 1_700_000_000_000_000_000


@given(st.integers(0, 4_000_000_000 * 10**9))
def test_nanoseconds_survive(time_ns):
    assert parse_rfc3339(rfc3339_nano(time_ns)) == time_ns


@given(st.integers(0, 4_000_000_000))
def test_seconds_agree_with_datetime(seconds):
    assert rfc3339_nano(seconds * 10**9) == datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("0", 0),
        ("1136073600", 1136073600 * 10**9),
        ("1136073600.000000001", 1136073600 * 10**9 + 1),
        ("1.5", 1_500_000_000),
        ("10m", NOW - 600 * 10**9),
        ("1h30m", NOW - 5400 * 10**9),
        ("1.5h", NOW - 5400 * 10**9),
        ("2006-01-02T15:04:05Z", 1136214245 * 10**9),
        ("2006-01-02T15:04:05.123456789Z", 1136214245123456789),
        ("2006-01-02T15:04:05+01:00", 1136210645 * 10**9),
        ("2006-01-02T15:04:05", 1136214245 * 10**9),
        ("2006-01-02T15:04", 1136214240 * 10**9),
        ("2006-01-02", 1136160000 * 10**9),
    ],
)
def test_what_since_and_until_take(text, expected):
    assert parse_timestamp(text, NOW) == expected


@pytest.mark.parametrize(
    "text", ["x", "1h2", "h", "--1h", "2006-13-01", "2006-01-02T25:00", "1e5", "٣", "9" * 40 + "h"]
)
def test_anything_else_is_refused(text):
    with pytest.raises(InvalidArgument):
        parse_timestamp(text, NOW)


@given(st.text(max_size=40))
def test_no_text_crashes(text):
    with contextlib.suppress(InvalidArgument):
        parse_timestamp(text, NOW)


def test_durations_keep_their_sign():
    assert parse_duration("-1.5s") == -1_500_000_000
    assert parse_duration("1h1m1s1ms1us1ns") == 3661001001001
