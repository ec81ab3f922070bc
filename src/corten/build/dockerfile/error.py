"""What is wrong with a Dockerfile, with the lines it is about. Pure; daemon."""

from __future__ import annotations

from collections.abc import Sequence

from corten.errors import InvalidArgument

Lines = tuple[int, int]
"""First and last line, from 1; (0, 0) is nowhere in particular."""


class DockerfileError(InvalidArgument):
    """A Dockerfile that cannot be built; `lines` are those of the instruction, `reason` is without them."""

    code = "dockerfile"

    def __init__(self, reason: str, *, lines: Lines = (0, 0), message: str = "") -> None:
        super().__init__(message or reason)
        self.reason = reason
        self.lines = lines


class ParseError(DockerfileError):
    """Text that is no Dockerfile. The message names the first line, as Docker's does."""

    code = "dockerfile-parse"

    def __init__(self, reason: str, *, lines: Lines = (0, 0)) -> None:
        place = f"dockerfile parse error on line {lines[0]}: " if lines[0] else ""
        super().__init__(reason, lines=lines, message=place + reason)


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """` (did you mean x?)` for the nearest of `known`, where one is near enough, or nothing."""
    nearest = suggestion(word, known)
    return f" (did you mean {nearest}?)" if nearest else ""


def suggestion(word: str, known: Sequence[str]) -> str:
    """The word of `known` that two or fewer edits make of `word` (by case too), or nothing; the first of equals."""
    best, best_distance = "", 3
    for candidate in known:
        if word == candidate:
            return ""
        distance = _distance(word.lower(), candidate.lower(), best_distance)
        if distance < best_distance:
            best, best_distance = candidate, distance
    return best


def _distance(one: str, other: str, limit: int) -> int:
    """Levenshtein's distance, or `limit` when it is not below."""
    if abs(len(one) - len(other)) >= limit:
        return limit
    row = list(range(len(other) + 1))
    for i, left in enumerate(one, 1):
        before, row[0] = row[0], i
        for j, right in enumerate(other, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (left != right))
        if min(row) >= limit:
            return limit
    return min(row[-1], limit)
