"""Parser directives: `# syntax=`, `# escape=`, `# check=` in a Dockerfile's first lines. Pure; daemon.

Directives are comments before any other comment, empty line or instruction. `syntax` is also read from lines that begin
with `//`, from a JSON document, and after a `#!` line, so that files of other languages can name their frontend.
Source: "Parser directives" of the Dockerfile reference.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from corten.build.dockerfile.error import ParseError

ESCAPES = ("\\", "`")
_DIRECTIVE = re.compile(r"(#|//)\s*([A-Za-z][A-Za-z0-9]*)\s*=\s*(.+?)\s*\Z")
_KNOWN = ("check", "escape", "syntax")


@dataclass(frozen=True, slots=True, kw_only=True)
class Directives:
    """What the first lines say. `count` is the number of lines that hold them."""

    escape: str = "\\"
    syntax: str = ""
    check: str = ""
    count: int = 0


def parse_directives(lines: list[str]) -> Directives:
    """The directives of a Dockerfile's lines. Raises ParseError for one given twice, and for another kind of escape."""
    found, count = _leading(lines, "#")
    escape = found.get("escape", "\\")
    if escape not in ESCAPES:
        raise ParseError(
            f"invalid escape token '{escape[:32]}' does not match ` or \\", lines=_place(lines, "escape", count)
        )
    return Directives(
        escape=escape,
        syntax=found.get("syntax") or _foreign_syntax(lines),
        check=found.get("check", ""),
        count=count,
    )


def _leading(lines: list[str], mark: str) -> tuple[dict[str, str], int]:
    """The directives that begin with `mark`, and how many lines they are."""
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        match = _DIRECTIVE.match(line.lstrip())
        name = match.group(2).lower() if match and match.group(1) == mark else ""
        if match is None or name not in _KNOWN:
            return found, number - 1
        if name in found:
            raise ParseError(f"only one {name} parser directive can be used", lines=(number, number))
        found[name] = match.group(3)
    return found, len(lines)


def _place(lines: list[str], name: str, count: int) -> tuple[int, int]:
    for number, line in enumerate(lines[:count], 1):
        match = _DIRECTIVE.match(line.lstrip())
        if match and match.group(2).lower() == name:
            return number, number
    return 0, 0


def _foreign_syntax(lines: list[str]) -> str:
    """The syntax that a file names which is no Dockerfile itself."""
    rest = lines[1:] if lines and lines[0].startswith("#!") else lines
    for mark in ("#", "//"):
        try:
            found, _count = _leading(rest, mark)
        except ParseError:
            return ""
        if "syntax" in found:
            return found["syntax"]
    text = "\n".join(rest).lstrip()
    if not text.startswith("{"):
        return ""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    syntax = document.get("syntax") if isinstance(document, dict) else None
    return syntax if isinstance(syntax, str) else ""
