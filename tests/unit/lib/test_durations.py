import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.lib.duration import duration_ns, duration_text


@given(st.integers(0, (1 << 63) - 1))
def test_what_is_printed_is_read_again(nanoseconds):
    assert duration_ns(duration_text(nanoseconds)) == nanoseconds


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [("0", 0), ("1m30s", 90 * 10**9), ("1.5h", 5400 * 10**9), ("-.5s", -5 * 10**8), ("+2us", 2000), ("3µs", 3000)],
)
def test_durations_are_gos(text, nanoseconds):
    assert duration_ns(text) == nanoseconds


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [(0, "0s"), (1, "1ns"), (1500, "1.5µs"), (2 * 10**6, "2ms"), (10**9, "1s"), (3600 * 10**9, "1h0m0s")],
)
def test_durations_are_printed_as_go_prints_them(nanoseconds, text):
    assert duration_text(nanoseconds) == text


@pytest.mark.parametrize("text", ["", "x", "1", "1x", "s", "1s2", "1.2.3s", "99999999999h", "--1s", "1" * 100 + "s"])
def test_others_are_refused(text):
    with pytest.raises(ValueError, match="time: "):
        duration_ns(text)
