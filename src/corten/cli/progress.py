"""The engine's JSON progress messages on the screen: a line for each layer on a terminal, plain lines elsewhere.

Rules of Docker's jsonmessage: lines are found again by moving the cursor; away from a terminal, messages of a running
transfer are left out.
"""

from __future__ import annotations

import os

from corten.cli.errors import CliError
from corten.cli.human_size import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, TextIO

_DEFAULT_WIDTH = 200


def show_progress(
    messages: Iterable[dict[str, Any]], out: TextIO, *, on_aux: Callable[[dict[str, Any]], None] | None = None
) -> None:
    """Show all messages; raises CliError for the error that a message carries."""
    terminal = out.isatty()
    lines: dict[str, int] = {}
    for message in messages:
        if message.get("aux") is not None:
            if on_aux is not None:
                on_aux(message)
            continue
        failure = message.get("errorDetail")
        if failure:
            raise _failure(failure)
        key = message.get("id")
        if key and message.get("progressDetail") is not None:
            _show_line(message, key, lines, out, terminal)
            continue
        lines.clear()
        _show(message, out, terminal)
        if message.get("stream"):  # a build's output, which people and logs follow
            out.flush()
    out.flush()


def _failure(detail: dict[str, Any]) -> CliError:
    text = str(detail.get("message") or "")
    if detail.get("code") == 401:
        text = "authentication is required"
    return CliError(text, status=detail.get("code") or 1 if detail.get("code") in range(1, 256) else 1)


def _show_line(message: dict[str, Any], key: str, lines: dict[str, int], out: TextIO, terminal: bool) -> None:
    """One layer's line: go up to it, write it, and come back."""
    if not terminal:
        _show(message, out, terminal)
        return
    known = key in lines
    if not known:
        lines[key] = len(lines)
        out.write("\n")
    distance = len(lines) - lines[key]
    out.write(f"\x1b[{distance}A")
    _show(message, out, terminal)
    out.write(f"\x1b[{distance}B")
    out.flush()


def _show(message: dict[str, Any], out: TextIO, terminal: bool) -> None:
    detail = message.get("progressDetail") or {}
    running = bool(detail.get("current")) or bool(detail.get("total"))
    if not terminal and running and not message.get("stream"):
        return
    end = ""
    if terminal and not message.get("stream") and message.get("progressDetail") is not None:
        out.write("\x1b[2K\r")
        end = "\r"
    if message.get("id"):
        out.write(f"{message['id']}: ")
    if message.get("from"):
        out.write(f"(from {message['from']}) ")
    if message.get("stream"):
        out.write(f"{message['stream']}{end}")
    elif message.get("progressDetail") is not None and terminal:
        out.write(f"{message.get('status', '')} {bar(detail)}{end}")
    else:
        out.write(f"{message.get('status', '')}{end}\n")


def bar(detail: dict[str, Any], width: int = 0) -> str:
    """`[====>      ]  1.5MB/3.2MB`, shorter on a narrow terminal."""
    current, total = detail.get("current") or 0, detail.get("total") or 0
    if current <= 0 and total <= 0:
        return ""
    width = width or _width()
    units = detail.get("units") or ""
    if total <= 0:
        return f"{current} {units}" if units else f"{human_size(current, 4):>8}"
    text = ""
    if width > 110:
        done = min(int(current / total * 100) // 2, 50)
        text = f"[{'=' * done}>{' ' * (50 - done)}] "
    if detail.get("hidecounts"):
        return text
    if units:
        return f"{text}{current}/{total} {units}" if current <= total else f"{text}{current} {units}"
    numbers = (
        f"{human_size(current, 4):>8}/{human_size(total, 4)}" if current <= total else f"{human_size(current, 4):>8}"
    )
    return text + numbers + _time_left(detail, current, total, width)


def _time_left(detail: dict[str, Any], current: int, total: int, width: int) -> str:
    """How long it may still take, when the engine says when it began and there is room."""
    start = detail.get("start") or 0
    if width <= 50 or start <= 0 or not 0 < current < total:
        return ""
    import time

    from corten.cli.duration import format_duration

    elapsed = time.time() - start
    left = int(elapsed / current * (total - current))
    return f" {format_duration(left * 10**9)}" if left > 0 else ""


def _width() -> int:
    try:
        return os.get_terminal_size(2).columns or _DEFAULT_WIDTH
    except OSError:
        return _DEFAULT_WIDTH
