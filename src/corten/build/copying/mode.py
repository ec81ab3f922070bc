"""`--chmod`: octal, or symbolic as chmod(1) takes it (`u=rwX,go-w`). Pure; daemon.

Source: chmod(1) of POSIX. A clause without `u`, `g`, `o` or `a` is for all of them: a build has no umask.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from corten.errors import InvalidArgument

_LIMIT = 0o7777
_CLAUSE = re.compile(r"([ugoa]*)((?:[-+=](?:[rwxXst]*|[ugo]))+)\Z")
_ACTION = re.compile(r"([-+=])([rwxXstugo]*)")
_SHIFTS = {"u": 6, "g": 3, "o": 0}
_BITS = {"r": 4, "w": 2, "x": 1}
_SPECIAL = {"u": 0o4000, "g": 0o2000, "o": 0o1000}
_CLAUSES_LIMIT = 64


@dataclass(frozen=True, slots=True)
class ModeChange:
    """What becomes of a mode: `absolute`, or each clause's actions in turn on `who`."""

    absolute: int | None = None
    clauses: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = ()

    def apply(self, mode: int, *, is_directory: bool) -> int:
        """The new mode of a file or directory of `mode`."""
        if self.absolute is not None:
            return self.absolute
        for who, actions in self.clauses:
            for sign, letters in actions:
                mode = _acted(mode, who, sign, letters, is_directory=is_directory)
        return mode


def mode_change(text: str) -> ModeChange | None:
    """The change that `text` says; None when it is empty. Raises InvalidArgument."""
    if not text:
        return None
    if text.isascii() and text.isdigit() and len(text) < 12 and not set(text) & set("89") and int(text, 8) <= _LIMIT:
        return ModeChange(absolute=int(text, 8))
    matches = [_CLAUSE.match(clause) for clause in text.split(",")[: _CLAUSES_LIMIT + 1]]
    if text[:1].isdigit() or len(matches) > _CLAUSES_LIMIT or None in matches:
        raise InvalidArgument(
            f"invalid chmod parameter: '{text[:64]}'. it should be octal string and between 0 and 07777, "
            "or a symbolic mode like u+x"
        )
    return ModeChange(
        clauses=tuple((_who(match.group(1)), tuple(_ACTION.findall(match.group(2)))) for match in matches if match)
    )


def _who(letters: str) -> str:
    return "ugo" if not letters or "a" in letters else letters


def _acted(mode: int, who: str, sign: str, letters: str, *, is_directory: bool) -> int:
    bits = mask = 0
    for one in who:
        shift = _SHIFTS[one]
        bits |= _permissions(mode, letters, is_directory=is_directory) << shift
        mask |= 7 << shift
        if ("t" if one == "o" else "s") in letters:
            bits |= _SPECIAL[one]
        # a directory keeps its set-id bits where they are not named, as GNU chmod has it
        mask |= _SPECIAL[one] if one == "o" or not is_directory else 0
    if sign == "+":
        return mode | bits
    return mode & ~bits if sign == "-" else mode & ~mask | bits


def _permissions(mode: int, letters: str, *, is_directory: bool) -> int:
    bits = 0
    for letter in letters:
        if letter in _SHIFTS:
            bits |= mode >> _SHIFTS[letter] & 7
        elif letter == "X":
            bits |= 1 if is_directory or mode & 0o111 else 0
        else:
            bits |= _BITS.get(letter, 0)
    return bits
