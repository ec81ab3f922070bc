"""Patterns of `${name#pattern}` and `${name/pattern/text}`: `*`, `?` and literal characters. Pure; daemon.

Patterns and values are the Dockerfile author's, so a match runs all alternatives at once, as bits of one integer, and
never backtracks: its time is the product of both lengths at most, and `STEPS_LIMIT` bounds a search in a long value.
No character stands for a line feed but itself. Source: "Environment replacement" of the Dockerfile reference.
"""

from __future__ import annotations

STEPS_LIMIT = 2_000_000
SIZE_LIMIT = 1 << 20
_ESCAPABLE = "*?\\"


class ShellPattern:
    """One pattern. Raises ValueError for an escape before an ordinary character."""

    def __init__(self, text: str, *, is_reversed: bool = False) -> None:
        """With `is_reversed` it matches reversed values: a suffix becomes a prefix."""
        tokens = _tokens(text)
        if is_reversed:
            tokens.reverse()
        self._star = self._any = 0
        self._literal: dict[str, int] = {}
        for number, (char, is_literal) in enumerate(tokens):
            if is_literal:
                self._literal[char] = self._literal.get(char, 0) | 1 << number
            elif char == "*":
                self._star |= 1 << number
            else:
                self._any |= 1 << number
        self._end = 1 << len(tokens)
        self._steps = 0

    def prefix(self, value: str, start: int = 0, *, longest: bool) -> int | None:
        """Where the shortest or longest match that begins at `start` ends; None when there is none."""
        states = self._closure(1)
        found = start if states & self._end else None
        if found is not None and not longest:
            return found
        for position in range(start, len(value)):
            self._steps += 1
            char = value[position]
            wild = 0 if char == "\n" else self._any & states
            stay = 0 if char == "\n" else self._star & states
            states = self._closure((states & self._literal.get(char, 0) | wild) << 1 | stay)
            if not states or self._steps > STEPS_LIMIT:
                break
            if states & self._end:
                found = position + 1
                if not longest:
                    break
        if self._steps > STEPS_LIMIT:
            raise ValueError("the value is too long for the pattern")
        return found

    def _closure(self, states: int) -> int:
        """With the states behind stars, which may match nothing; no star follows another one."""
        return states | (states & self._star) << 1

    def replace(self, value: str, text: str, *, every: bool) -> str:
        """`value` with `text` in the place of the first match, or of every one; the longest at each place.

        Raises ValueError when that becomes too long.
        """
        parts: list[str] = []
        position = copied = size = 0
        while position <= len(value):
            end = self.prefix(value, position, longest=True)
            # an empty match right behind another match is none
            if end is None or (end == position and parts and copied == position):
                position += 1
                continue
            parts += (value[copied:position], text)
            size += len(text)
            if size > SIZE_LIMIT:
                raise ValueError(f"the result is larger than the limit of {SIZE_LIMIT} characters")
            copied = end
            position = max(end, position + (end == position))
            if not every:
                break
        return "".join(parts) + value[copied:]


def _tokens(text: str) -> list[tuple[str, bool]]:
    """The characters, each with whether it is literal; a row of stars is one."""
    tokens: list[tuple[str, bool]] = []
    position = 0
    while position < len(text):
        char = text[position]
        position += 1
        if char == "\\":
            following = text[position : position + 1]
            position += 1
            # } and / had to be escaped for the substitution's own sake
            if following not in ("}", "/") and (not following or following not in _ESCAPABLE):
                raise ValueError(f"invalid escape '\\{following}'")
            tokens.append((following, True))
        elif char == "*":
            if not tokens or tokens[-1] != ("*", False):
                tokens.append((char, False))
        else:
            tokens.append((char, char != "?"))
    return tokens
