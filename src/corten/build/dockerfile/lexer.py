"""From bytes to logical lines: continuations joined, comments taken out, line numbers kept. Pure; daemon.

Lines end with a line feed, before which carriage returns are dropped; a byte order mark is passed over. Bytes that are
no UTF-8 become U+FFFD, as they would in the image's configuration. A line that ends with the escape character goes on
in the next one; comments and empty lines in between are left out, though an empty one is an old mistake that
`empty_continuation` tells. Heredocs are read line by line on the parser's demand, for only it knows where one begins.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from corten.build.dockerfile.directives import Directives, parse_directives
from corten.build.dockerfile.error import ParseError, did_you_mean

LINE_LIMIT = 65535
LINES_LIMIT = 100_000
SIZE_LIMIT = 4 << 20
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SETTING = re.compile(r"corten:\s*([a-z_-]+)\s*=\s*(.*)\Z", re.IGNORECASE)
SETTINGS = ("egress",)
_CONTINUED = {
    "\\": re.compile(r"(?:(?<=[^\\])|\A)\\[ \t]*\Z"),
    "`": re.compile(r"(?:(?<=[^`])|\A)`[ \t]*\Z"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LogicalLine:
    """One instruction's text without its line breaks; `comments` are the ones right above it, `settings` Corten's own
    comments above it (`# corten:NAME=value`), which no empty line parts from it."""

    text: str
    first: int
    last: int
    comments: tuple[str, ...] = ()
    settings: tuple[tuple[str, str], ...] = ()
    empty_continuation: bool = False


class Cursor:
    """Physical lines, taken one after the other."""

    def __init__(self, lines: Sequence[str]) -> None:
        self._lines = lines
        self.line_number = 0

    def take(self) -> str | None:
        """The next line without its end; None behind the last."""
        if self.line_number >= len(self._lines):
            return None
        self.line_number += 1
        return self._lines[self.line_number - 1].rstrip("\r")

    def read_heredoc(self, name: str, *, strip_tabs: bool) -> str | None:
        """The lines up to the one that is `name` alone, line breaks included; None when that never comes.

        With `strip_tabs` (`<<-`), tabs before the name do not count.
        """
        content: list[str] = []
        while (line := self.take()) is not None:
            if (line.lstrip("\t") if strip_tabs else line) == name:
                return "".join(content)
            content.append(self._lines[self.line_number - 1] + "\n")
        return None


class Lexer:
    """A Dockerfile's logical lines. `next()` gives them one after the other, then None."""

    def __init__(self, data: bytes) -> None:
        """Raises ParseError for a file that is empty or too large, and for wrong directives."""
        if not data.strip():
            raise ParseError("file with no instructions" if data else "the Dockerfile cannot be empty")
        if len(data) > SIZE_LIMIT:
            raise ParseError(f"the Dockerfile of {len(data)} bytes is larger than the limit of {SIZE_LIMIT}")
        self.lines = data.removeprefix(_BYTE_ORDER_MARK).decode("utf-8", "replace").split("\n")
        if not self.lines[-1]:
            self.lines.pop()
        self._check_limits()
        self.cursor = Cursor(self.lines)
        self.directives: Directives = parse_directives([line.rstrip("\r") for line in self.lines])
        self._continued = _CONTINUED[self.directives.escape]

    def _check_limits(self) -> None:
        if len(self.lines) > LINES_LIMIT:
            raise ParseError(f"the Dockerfile of {len(self.lines)} lines is longer than the limit of {LINES_LIMIT}")
        for number, line in enumerate(self.lines, 1):
            if len(line) > LINE_LIMIT // 4 and len(line.encode()) > LINE_LIMIT:
                raise ParseError(
                    f"dockerfile line greater than max allowed size of {LINE_LIMIT}", lines=(number, number)
                )

    def next(self) -> LogicalLine | None:
        """The next line that holds an instruction. Raises ParseError for a setting of nothing."""
        comments: list[str] = []
        settings: list[tuple[str, str]] = []
        while (line := self.cursor.take()) is not None:
            line = line.lstrip()
            if line.startswith("#"):
                if (found := self._setting(line)) is not None:
                    settings.append(found)
                self._add_comment(comments, line[1:].strip())
            elif line:
                return self._joined(line, tuple(comments), tuple(settings))
            else:
                comments.clear()
        if settings:
            raise self._misplaced(f"corten:{settings[-1][0]} stands above no instruction")
        return None

    def _setting(self, line: str) -> tuple[str, str] | None:
        """The name and value of a comment that says something to Corten. Raises ParseError for an unknown name."""
        match = _SETTING.match(line.lstrip("#").strip())
        if match is None:
            return None
        name = match[1].lower()
        if name not in SETTINGS:
            raise self._misplaced(f"unknown setting corten:{name[:32]}" + did_you_mean(name, SETTINGS))
        return name, match[2]

    def _misplaced(self, reason: str) -> ParseError:
        return ParseError(reason, lines=(self.cursor.line_number, self.cursor.line_number))

    def _add_comment(self, comments: list[str], text: str) -> None:
        if not text:
            comments.clear()
        elif self.cursor.line_number > self.directives.count:
            comments.append(text)

    def _joined(self, line: str, comments: tuple[str, ...], settings: tuple[tuple[str, str], ...]) -> LogicalLine:
        first = self.cursor.line_number
        text, is_continued = self._without_continuation(line)
        parts, has_empty = [text], False
        while is_continued and (following := self.cursor.take()) is not None:
            start = following.lstrip()
            if start.startswith("#"):
                if self._setting(start) is not None:
                    raise self._misplaced("a setting of Corten's stands inside of an instruction: write it above")
                continue
            if not start:
                has_empty = True
                continue
            text, is_continued = self._without_continuation(following)
            parts.append(text)
        return LogicalLine(
            text="".join(parts),
            first=first,
            last=self.cursor.line_number,
            comments=comments,
            settings=settings,
            empty_continuation=has_empty,
        )

    def _without_continuation(self, line: str) -> tuple[str, bool]:
        match = self._continued.search(line)
        return (line[: match.start()], True) if match else (line, False)
