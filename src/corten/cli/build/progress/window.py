"""The last lines of what a step has written, as a terminal of that height would show them. Pure.

A carriage return begins the line anew, a backspace goes back, escape sequences and other control characters are
dropped: what a step writes moves nobody's cursor.
"""

from __future__ import annotations

HEIGHT = 6
_KEPT = 4 * HEIGHT  # lines, as empty ones are not shown
_LINE_LIMIT = 4096
_ESCAPES = (
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[PX^_][^\x1b]*\x1b\\|[ -/]*[0-~])"
    r"|\x9b[0-?]*[ -/]*[@-~]"
)
_UNFINISHED = r"\x1b(?:\[[0-?]*[ -/]*|\][^\x07\x1b]*\x1b?|[PX^_][^\x1b]*\x1b?|[ -/]*)\Z"
_PENDING_LIMIT = 256


class Window:
    """The lines; `size` is how many characters came in all."""

    def __init__(self) -> None:
        self.size = 0
        self._lines: list[str] = [""]
        self._column = 0
        self._pending = ""

    def write(self, text: str) -> None:
        """More output."""
        self.size += len(text)
        text, self._pending = self._pending + text, ""
        if "\x1b" in text or "\x9b" in text:
            text = self._without_escapes(text)
        lines = text.split("\n")
        if len(lines) > _KEPT:  # what came before them is out of sight
            self._lines, self._column = [], 0
        for number, line in enumerate(lines[-_KEPT:]):
            if number or not self._lines:
                self._lines, self._column = [*self._lines[1 - _KEPT :], ""], 0
            self._put(line)

    def _without_escapes(self, text: str) -> str:
        """What is not finished waits for more."""
        import re

        cut = re.search(_UNFINISHED, text)
        if cut is not None:
            if len(text) - cut.start() <= _PENDING_LIMIT:
                self._pending = text[cut.start() :]
            text = text[: cut.start()]
        return re.sub(_ESCAPES, "", text)

    def lines(self) -> list[str]:
        """What is to be seen, without empty lines."""
        return [line for line in self._lines if line.strip()][-HEIGHT:]

    def _put(self, text: str) -> None:
        for part in _parts(text):
            if part == "\r":
                self._column = 0
            elif part == "\b":
                self._column = max(0, self._column - 1)
            elif part:
                part = clean(part)
                line = self._lines[-1]
                self._lines[-1] = (line[: self._column] + part + line[self._column + len(part) :])[:_LINE_LIMIT]
                self._column = min(self._column + len(part), _LINE_LIMIT)


def _parts(text: str) -> list[str]:
    """The text, split at what moves the cursor in its line."""
    if "\r" not in text and "\b" not in text:
        return [text]
    import re

    return re.split(r"([\r\b])", text)


def clean(text: str) -> str:
    """Without control characters; tabs are spaces."""
    return "".join(
        " " if character == "\t" else character for character in text if character == "\t" or character.isprintable()
    )


def columns(text: str) -> int:
    """How many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    import unicodedata

    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )


def fitted(text: str, width: int) -> str:
    """As much of the beginning as fits."""
    if columns(text) <= width:
        return text
    taken, used = [], 0
    for character in text:
        used += columns(character)
        if used > width:
            break
        taken.append(character)
    return "".join(taken)


def padded(text: str, width: int) -> str:
    """Filled with spaces up to `width` columns."""
    return text + " " * max(0, width - columns(text))
