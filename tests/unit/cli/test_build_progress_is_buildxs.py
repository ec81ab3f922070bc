"""Status messages of the real buildx become the text that it printed of such a build; on a terminal, frames that fit."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.cli.build.progress.colors import colors_of
from corten.cli.build.progress.figures import amount, nanoseconds, since_start, size
from corten.cli.build.progress.plain import Plain
from corten.cli.build.progress.trace import Trace
from corten.cli.build.progress.tty import Tty, frame
from corten.cli.build.progress.window import HEIGHT, Window, columns, fitted

RECORDED = Path(__file__).parent / "recorded_progress"
HEADING = '#0 building with "default" instance using docker driver'
SECOND = 1_000_000_000


def messages(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (RECORDED / f"{name}.rawjson").read_text().splitlines()]


def moment(message: dict[str, Any], before: float) -> float:
    """When a message came, in seconds: not before its latest time."""
    keys = ("timestamp", "completed", "started")
    times = [item[key] for items in message.values() for item in items for key in keys if item.get(key)]
    return max([before, *((nanoseconds(time) or 0) / SECOND for time in times)])


def plain(name: str) -> str:
    """A recording as the plain display shows it, with its ticks."""
    trace = Trace()
    display, text, now, drawn = Plain(trace, HEADING), "", 0.0, 0.0
    for message in messages(name):
        then = moment(message, now)
        while now and then - now > 0.15:
            now += 0.15
            text += display.text(now)
        now = then
        trace.update(message, now)
        if now - drawn >= 0.1:
            text, drawn = text + display.text(now), now
    return text + display.end(now)


def shape(text: str) -> tuple[dict[str, list[str]], list[str]]:
    """What each step says, and what stands behind them all, without what differs from run to run: times, digests,
    transfers, which of two steps came first, and whether a step that took no time counts as done before."""
    text, _, _ = text.partition("\nDockerfile.")  # which is said by whoever knows the file
    steps, _, tail = text.partition("------\n")
    names: dict[str, str] = {}
    found: dict[str, list[str]] = {}
    for number, rest in re.findall(r"(?m)^#(\d+) (.*)$", steps):
        if number not in names:
            names[number] = rest
        elif rest not in ("...", names[number]) and not rest.startswith("transferring "):
            found.setdefault(names[number], []).append(_steady(rest))
    return {name: list(dict.fromkeys(rest)) for name, rest in found.items()}, _steady(tail.rstrip("\n")).split("\n")


def _steady(text: str) -> str:
    text = re.sub(r"sha256:[0-9a-f]+|::[0-9a-z]+", "DIGEST", text)
    text = re.sub(r"\b(CACHED|DONE \d+\.\d+s)", "OVER", text)
    return re.sub(r"(?m)^\d+\.\d+ | \d+\.\d+s(?= done)", "", text)


@pytest.mark.parametrize("name", ["ok", "cached", "fail", "nocopy", "parse", "fail2"])
def test_plain_text_is_buildxs(name: str) -> None:
    assert shape(plain(name)) == shape((RECORDED / f"{name}.plain").read_bytes().decode())


def test_steps_are_numbered_as_they_appear_and_shown_one_after_the_other() -> None:
    text = plain("ok")
    heads = re.findall(r"(?m)^#(\d+) \[", text)
    assert list(dict.fromkeys(heads)) == [str(number) for number in range(1, 11)]
    current = ""
    for line in text.splitlines():
        if not line:
            current = ""
        elif line.startswith("#"):
            number = line.split()[0]
            assert current in ("", number), line
            current = number


def test_a_failed_steps_last_lines_stand_at_the_end() -> None:
    text = plain("fail")
    tail = text[text.index("------\n") :].splitlines()
    assert tail[1].startswith(" > [3/3] RUN echo said;")
    assert tail[1].endswith("exit 3:")
    assert [line.split(" ", 1)[1] for line in tail[2:-1]] == [f"line {number}" for number in range(11, 21)]


def vertex(number: int, *, name: str = "", start: int = 0, end: int | None = None, **more: Any) -> dict[str, Any]:
    def time(second: int) -> str:
        return f"2026-01-01T00:00:{second:02}Z"

    found = {"digest": f"sha256:{number}", "name": name or f"step {number}", "started": time(start), **more}
    return {"vertexes": [found if end is None else {**found, "completed": time(end)}]}


def log(number: int, data: bytes, second: float = 0) -> dict[str, Any]:
    at = f"2026-01-01T00:00:{int(second):02}.{round(second % 1 * 1000):03}Z"
    return {
        "logs": [{"vertex": f"sha256:{number}", "stream": 1, "data": base64.b64encode(data).decode(), "timestamp": at}]
    }


def shown(*given: dict[str, Any], step_s: float = 1.0) -> str:
    trace = Trace()
    display, text, now = Plain(trace), "", 0.0
    for message in given:
        now += step_s
        trace.update(message, now)
        text += display.text(now)
    return text + display.end(now)


def test_pieces_of_a_line_are_one_line_and_characters_are_not_torn() -> None:
    word = "构建".encode()
    text = shown(
        vertex(1), log(1, b"be"), log(1, b"gun " + word[:2]), log(1, word[2:]), log(1, b"\nnext", 1), vertex(1, end=2)
    )
    assert text == "#1 step 1\n#1 0.000 begun 构建\n#1 1.000 next\n#1 DONE 2.0s\n"


def test_a_step_in_the_background_waits_and_a_canceled_one_is_not_to_blame() -> None:
    text = shown(
        vertex(1), log(1, b"a"), vertex(2), log(2, b"b\n"), vertex(2, end=1),
        vertex(3, end=1, error="went wrong"), vertex(1, end=3, error="context canceled"),
    )  # fmt: skip
    assert text == (
        "#1 step 1\n#1 0.000 a\n#1 ...\n\n#2 step 2\n#2 0.000 b\n#2 DONE 1.0s\n\n#1 step 1\n"
        "#1 ...\n\n#3 step 3\n#3 ERROR: went wrong\n\n#1 step 1\n#1 CANCELED\n------\n > step 3:\n------\n"
    )


def test_one_that_waits_long_gets_its_turn() -> None:
    running = [message for second in range(12) for message in (log(1, b"x\n", second), log(2, b"y\n", second))]
    text = shown(vertex(1), vertex(2), *running)
    assert text.index("#1 step 1") < text.index("#1 ...\n\n#2 step 2\n#2 0.000 y\n")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2026-11-28T18:17:17.114949754Z", 1795889837_114949754), ("2026-11-28T19:17:17.5+01:00", 1795889837_500000000),
        ("1970-01-01T00:00:00Z", 0), ("", None), (None, None),
    ],
)  # fmt: skip
def test_times(text: str | None, wanted: int | None) -> None:
    assert nanoseconds(text) == wanted


def test_figures() -> None:
    assert [size(n) for n in (0, 26, 999, 1000, 1_984_321, 3 << 30)] == [
        "0B",
        "26B",
        "999B",
        "1.00kB",
        "1.98MB",
        "3.22GB",
    ]
    assert amount(0, 0) == ""
    assert amount(500, 2000) == "500B / 2.00kB"
    assert [since_start(int(s * SECOND)) for s in (0.0421, 9.9, 10, 99.99, 123)] == [
        "0.042",
        "9.900",
        "10.00",
        "99.99",
        "123.0",
    ]


# -- on a terminal


def traced(*given: dict[str, Any]) -> Trace:
    trace = Trace()
    for message in given:
        trace.update(message, 0.0)
    return trace


NOW = 1767225600 * SECOND  # 2026-01-01


@pytest.mark.parametrize("name", ["ok", "fail", "fail2", "cached"])
@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 5), (200, 8), (10, 3), (1, 1)])
def test_frames_fit_the_screen(name: str, width: int, height: int) -> None:
    trace = Trace()
    for message in messages(name):
        trace.update(message, 0.0)
        lines = frame(trace, trace.started or 0, width, height, name="corten:default", is_last=False)
        assert len(lines) <= max(height - 1, 1)
        assert all(columns(line.text) < max(width, 2) for line in lines)


def test_the_last_frame_shows_all_steps_as_buildx_does() -> None:
    lines = frame(traced(*messages("fail")), 0, 80, 10, name="docker:default", is_last=True)
    assert [re.sub(r"\d+\.\d+s", "T", line.text) for line in lines] == [
        "[+] Building T (6/6) FINISHED                                 docker:default",
        " => [internal] load build definition from Dockerfile.fail                  T",
        " => => transferring dockerfile: 166B                                       T",
        " => [internal] load metadata for docker.io/library/busybox:latest          T",
        " => [internal] load .dockerignore                                          T",
        " => => transferring context: 2B                                            T",
        " => CACHED [1/3] FROM docker.io/library/busybox:latest                     T",
        " => [2/3] RUN echo fine                                                    T",
        " => ERROR [3/3] RUN echo said;   i=0; while [ $i -lt 20 ]; do i=$((i+1));  T",
    ]
    assert [line.kind for line in lines[1:]] == ["run"] * 7 + ["error"]


def test_running_steps_show_their_last_lines_where_there_is_room() -> None:
    talk = log(1, b"".join(b"line %d\n" % number for number in range(9)))
    trace = traced(vertex(1), talk)
    texts = [line.text.rstrip() for line in frame(trace, NOW, 60, 24, name="x", is_last=False)]
    assert texts[2:] == [f" => => # line {number}" for number in range(3, 9)]
    assert len(frame(trace, NOW, 60, 8, name="x", is_last=False)) == 2


def test_running_steps_stay_in_sight_of_a_small_screen() -> None:
    trace = traced(vertex(1), *(vertex(number, end=1) for number in range(2, 30)))
    texts = [line.text for line in frame(trace, NOW, 60, 6, name="x", is_last=False)]
    assert len(texts) == 5
    assert texts[1].startswith(" => step 1 ")
    assert texts[-1].startswith(" => step 29 ")


def screen(text: str, width: int, height: int) -> list[str]:
    """What a terminal shows of a drawing: the few sequences that it uses, and nothing else."""
    rows, row, column = [""], 0, 0
    for part in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", text):
        if part == "\r":
            column = 0
        elif part == "\n":
            row, column = row + 1, 0
            rows += [""] * (row + 1 - len(rows))
        elif part.endswith("A"):
            row = max(0, row - int(part[2:-1]))
        elif part.endswith("K"):
            rows[row] = rows[row][:column]
        elif part.endswith("J"):
            rows[row:] = [rows[row][:column]]
        elif part.startswith("\x1b"):
            assert part[-1] in "mhl", part
        else:
            rows[row] = rows[row][:column].ljust(column) + part + rows[row][column + len(part) :]
            column += len(part)
            assert column < width, "a line is folded"
    assert len(rows) <= height or height == 0
    return rows


def test_frames_are_drawn_over_each_other() -> None:
    trace, drawn = Trace(), ""
    tty = Tty(trace, colors_of({}), "corten:default")
    for message in messages("ok"):
        trace.update(message, 0.0)
        drawn += tty.text(trace.started or 0, 80, 12)
        assert len([row for row in screen(drawn, 80, 12) if row.startswith("[+] Building")]) == 1
    drawn += tty.end(trace.started or 0, 80, 12)
    rows = screen(drawn, 80, 0)
    assert rows[0].startswith("[+] Building 0.0s (11/11) FINISHED")
    assert len([row for row in rows if row.startswith(" => [")]) == len(trace.in_order) - 1  # all but the export


def test_a_narrower_terminal_has_folded_what_stood_there() -> None:
    tty = Tty(traced(vertex(1)), colors_of({}), "x")
    tty.text(NOW, 80, 24)
    assert tty.text(NOW, 30, 24).startswith("\x1b[?25l\x1b[6A\r")  # two lines of 79 columns are three rows of 30 each


def test_colours_can_be_changed_and_left_out() -> None:
    trace = traced(vertex(1, end=1, name="\x1b]0;evil\x07 done"))
    blue = Tty(trace, colors_of({}), "x").text(NOW, 60, 24)
    assert "\x1b[34m => ]0;evil done" in blue
    assert "\x07" not in blue
    assert "m" not in re.sub(
        r"[^\x1b]*(\x1b\[[0-9;?]*[A-Za-z])?", r"\1", Tty(trace, colors_of({"NO_COLOR": "1"}), "x").text(NOW, 60, 24)
    )
    colors = colors_of({"BUILDKIT_COLORS": "run=light-green:error=255,0,16:cancel=1,2:x=red:warning=300,1,1"})
    assert colors.apply("run", "a") == "\x1b[92ma\x1b[0m"
    assert colors.apply("error", "a") == "\x1b[38;2;255;0;16ma\x1b[0m"
    assert colors.apply("cancel", "a") == "\x1b[33ma\x1b[0m"
    assert colors.apply("warning", "a") == "\x1b[33ma\x1b[0m"


def test_wide_characters_take_two_columns() -> None:
    assert columns("构建a") == 5
    assert fitted("构建a", 4) == "构建"
    assert fitted("构建a", 3) == "构"


@given(st.text(alphabet="ab\r\n\b\t\x1b[]0;mK\x07构", max_size=200), st.integers(1, 20))
def test_a_window_shows_the_same_however_output_is_cut(text: str, length: int) -> None:
    whole, cut = Window(), Window()
    whole.write(text)
    for start in range(0, len(text), length):
        cut.write(text[start : start + length])
    assert cut.lines() == whole.lines()
    assert len(whole.lines()) <= HEIGHT
    assert all(line.isprintable() for line in whole.lines())


def test_a_window_has_what_progress_bars_left() -> None:
    window = Window()
    window.write(" 10%\r 50%\r100%\nab\bc\x1b[31mred\x1b[0m\n\n")
    assert window.lines() == ["100%", "acred"]
    window.write("".join(f"{number}\n" for number in range(100)))
    assert window.lines() == [str(number) for number in range(94, 100)]


def test_output_that_never_ends_is_kept_within_bounds() -> None:
    trace = traced(vertex(1))
    for _ in range(40):
        trace.update(log(1, b"x" * 100_000 + b"\n" * 1000), 0.0)
    (step,) = trace.in_order
    assert sum(len(line) for line in step.kept) < 3 << 20
    assert len(step.kept) <= 20_000
