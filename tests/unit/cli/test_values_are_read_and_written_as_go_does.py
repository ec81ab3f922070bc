"""Durations, sizes, times, detach keys and templates follow Go and Docker's client."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.cli.detach_keys import DetachFilter, parse_keys
from corten.cli.duration import format_duration, parse_duration
from corten.cli.errors import CliError
from corten.cli.human_size import binary_size, human_size, parse_bytes
from corten.cli.human_time import human_duration, parse_rfc3339, utc_seconds
from corten.cli.template.evaluate import render
from corten.cli.template.lexer import TemplateError


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("1h2m3.5s", 3723500000000),
        ("250ms", 250000000),
        ("-1.5h", -5400000000000),
        ("0", 0),
        (".5s", 500000000),
        ("1us2ns", 1002),
    ],
)
def test_durations_are_read(text: str, nanoseconds: int) -> None:
    assert parse_duration(text) == nanoseconds


@pytest.mark.parametrize("text", ["", "5", "s", "1x", "1.2.3s", "--1s", "1h 2m", "9999999999h"])
def test_wrong_durations_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_duration(text)


@given(st.integers(min_value=-(2**62), max_value=2**62))
def test_a_written_duration_reads_back(nanoseconds: int) -> None:
    assert parse_duration(format_duration(nanoseconds)) == nanoseconds


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0B"), (999, "999B"), (1000, "1kB"), (1234567, "1.23MB"), (187654321, "188MB"), (10**24, "1YB")],
)
def test_sizes_have_three_digits(size: int, text: str) -> None:
    assert human_size(size) == text


def test_binary_sizes_have_four_digits() -> None:
    assert [binary_size(size) for size in (0, 1023, 1024, 40000000, 2000000000)] == [
        "0B", "1023B", "1KiB", "38.15MiB", "1.863GiB",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "size"), [("1", 1), ("1k", 1024), ("1.5g", 1610612736), ("64MiB", 67108864), ("10 mb", 10485760)]
)
def test_sizes_are_read_as_powers_of_1024(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.5, "Less than a second"), (1, "1 second"), (59, "59 seconds"), (60, "About a minute"), (3599, "59 minutes"),
        (3600, "About an hour"), (7200, "2 hours"), (48 * 3600, "2 days"), (15 * 86400, "2 weeks"), (70 * 86400, "2 months"),
        (800 * 86400, "2 years"),
    ],
)  # fmt: skip
def test_ages_are_told_in_dockers_words(seconds: float, text: str) -> None:
    assert human_duration(seconds) == text


@given(
    st.datetimes(
        min_value=__import__("datetime").datetime(1970, 1, 1), max_value=__import__("datetime").datetime(2200, 1, 1)
    )
)
def test_dates_become_the_seconds_that_the_calendar_says(moment) -> None:
    import calendar

    assert utc_seconds(
        moment.year, moment.month, moment.day, moment.hour, moment.minute, moment.second
    ) == calendar.timegm(moment.timetuple())


def test_rfc3339_with_fraction_and_zone() -> None:
    assert parse_rfc3339("2001-09-09T03:46:40.5+02:00") == (1000000000, 500000000)


def test_detach_keys_are_found_across_pieces_and_held_back_until_sure() -> None:
    keys = DetachFilter(parse_keys("ctrl-p,ctrl-q"))
    assert keys.feed(b"ab\x10") == (b"ab", False)
    assert keys.feed(b"c\x10") == (b"\x10c", False)
    assert keys.feed(b"\x11rest") == (b"", True)


@given(st.lists(st.binary(max_size=8), max_size=8))
def test_what_is_typed_without_the_sequence_arrives_whole(pieces: list[bytes]) -> None:
    data = b"".join(pieces).replace(b"\x10", b"") + b"z"
    keys = DetachFilter(b"\x10\x11")
    assert keys.feed(data) == (data, False)


@pytest.mark.parametrize("text", ["ctrl-", "ctrl-1", "ab", "", "a,,b"])
def test_wrong_detach_keys_are_refused(text: str) -> None:
    with pytest.raises(CliError):
        parse_keys(text)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{range $i, $e := .L}}{{if $i}},{{end}}{{$e}}{{else}}none{{end}}", "1,2,3"),
        ("{{range .Nothing}}x{{else}}none{{end}}", "none"),
        ("{{range .L}}{{if eq . 2}}{{continue}}{{end}}{{if eq . 3}}{{break}}{{end}}{{.}}{{end}}", "1"),
        ("{{$x := 1}}{{if true}}{{$x = 2}}{{end}}{{$x}}", "2"),
        ('{{define "t"}}<{{.}}>{{end}}{{template "t" .S}}', "<text>"),
        ("a {{- /* nothing */ -}} b", "ab"),
        ('{{with $y := .S}}{{$y | printf "%s-%s" "x"}}{{end}}', "x-text"),
        ("{{(index .L 1) | printf `%03d`}}", "002"),
        ('{{index .M "k" | len}} {{slice .S 1 3}}', "5 ex"),
        ("{{printf `%T %T %T` .S .L 1.5}}", "string []interface {} float64"),
        ("{{1.0}} {{1e3}} {{0x10}} {{'a'}} {{true}} {{nil | printf `%v`}}", "1 1000 16 97 true <nil>"),
        ('{{html "<a&b>"}} {{urlquery "a b&c"}} {{title "foo bar"}}', "&lt;a&amp;b&gt; a+b%26c Foo Bar"),
        ("{{print 1 2}} {{print `a` 1}} {{println 1 `b`}}", "1 2 a1 1 b\n"),
        ("{{or .Nothing .S}} {{and .S .L}} {{not .S}}", "text [1 2 3] false"),
        ("{{json .M}}", '{"k":"value"}'),
    ],
)
def test_templates(source: str, text: str) -> None:
    assert render(source, {"L": [1, 2, 3], "S": "text", "M": {"k": "value"}}) == text


@given(st.text(alphabet='{}.$|()"`-ab01 :=,/*', max_size=40))
def test_any_text_is_rendered_or_refused_cleanly(source: str) -> None:
    with contextlib.suppress(TemplateError):
        render(source, {"a": 1})
