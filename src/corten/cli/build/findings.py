"""What the engine's checks of a Dockerfile found, as buildx shows it: warnings, and the source lines about them.

The document is BuildKit's `lint` result. Pure.
"""

from __future__ import annotations

from binascii import a2b_base64

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_RULE = "-" * 20
_AROUND, _AROUND_ONE = 1, 2  # how many lines are shown on each side of several lines, and of one


def source_lines(name: str, lines: Sequence[str], first: int, last: int) -> str:
    """Lines `first` to `last` (from 1) marked, with some lines around them; empty when there is no such line."""
    if not 1 <= first <= len(lines):
        return ""
    last = max(first, min(last, len(lines)))
    around = _AROUND_ONE if first == last else _AROUND
    shown = [
        f" {number:3} | {'>>>' if first <= number <= last else '   '} {lines[number - 1]}\n"
        for number in range(max(1, first - around), min(len(lines), last + around) + 1)
    ]
    return f"{name}:{first}\n{_RULE}\n{''.join(shown)}{_RULE}\n"


def where(results: dict[str, Any], location: dict[str, Any] | None, name: str) -> str:
    """The source lines of a location in the Dockerfile that the user calls `name`."""
    ranges = (location or {}).get("ranges") or []
    if not ranges:
        return ""
    return source_lines(name, _lines(results), ranges[0]["start"]["line"], ranges[0]["end"]["line"])


def check_report(results: dict[str, Any], name: str) -> str:
    """What `--check` prints."""
    warnings = results.get("warnings") or []
    if not warnings:
        return "Check complete, no warnings found.\n"
    text = f"Check complete, {_count(len(warnings), 'has', 'have')} been found!\n"
    for warning in warnings:
        text += f"\nWARNING: {warning['ruleName']} - {warning['url']}\n{warning['detail']}\n"
        text += where(results, warning["location"], name)
    return text


def build_report(results: dict[str, Any], name: str, *, debug: bool, notes: Sequence[str] = ()) -> str:
    """What stands behind a build; with `debug` also what each warning means and where it is. `notes` are warnings that
    are about no line."""
    warnings = results.get("warnings") or []
    if not warnings and not notes:
        return ""
    text = f"\n {_count(len(warnings) + len(notes))} found{'' if debug else ' (use --debug to expand)'}:\n"
    text += "".join(f" - {note}\n" for note in notes)
    for warning in warnings:
        line = warning["location"]["ranges"][0]["start"]["line"]
        text += f" - {warning['ruleName']}: {warning['detail']} (line {line})\n"
        if debug:
            text += f"{warning['description']}\nMore info: {warning['url']}\n"
            text += where(results, warning["location"], name) + "\n"
    return text


def _count(number: int, one: str = "", many: str = "") -> str:
    words, verb = ("1 warning", one) if number == 1 else (f"{number} warnings", many)
    return f"{words} {verb}" if verb else words


def _lines(results: dict[str, Any]) -> list[str]:
    return a2b_base64(results["sources"][0]["data"]).decode("utf-8", "replace").split("\n")
