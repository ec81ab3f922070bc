"""`.dockerignore`: which files of a build context stay out. Pure; daemon.

    name    a file or directory and all below it, from the context's root      *    any characters but /
    !name   back in again, also out of an ignored directory                     ?    one character but /
    #...    a comment                                                           **   any number of directories
    [a-z]   one of these characters, [^a-z] one of the others                   \\c   the character c itself

Patterns count in their order, the last one that matches decides. A path also matches when one of its directories does.
Leading and trailing slashes mean nothing. Source: ".dockerignore file" of the Docker documentation; the answers of
Docker 26 to 200 files are recorded in tests/unit/build/recorded.

Patterns become regular expressions whose time is bounded: a `*` that another one follows in the same name, and a `**/`
that another one follows, take the first place that fits and never reconsider, which finds all there is to find.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from corten.build.dockerfile.error import DockerfileError

PATTERNS_LIMIT = 10_000
_PATTERN_LIMIT = 4096
_FREE_DEEP_LIMIT = 1
_DEEP = "**"  # any directories, none too: (.*/)?
_ALL = "**$"  # at the end: everything
_STAR = "*"
_SLASH = "/"
_SYNTAX = "syntax error in pattern"
_WILDCARD = re.compile(r"[*?\[\\]")
# `**` and plain characters: Docker takes any path that ends with those, not only at a name's beginning
_SUFFIX = re.compile(r"\*\*([^/*?\[\]\\][^*?\[\]\\]*)\Z")


def parse_ignore(data: bytes) -> tuple[str, ...]:
    """The patterns of a file, normalised, in order; those that bring back begin with `!`."""
    text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")
    patterns = []
    for line in text.split("\n"):
        pattern = line.strip()
        if line.startswith("#") or not pattern:
            continue
        negated, pattern = ("!", pattern[1:].strip()) if pattern.startswith("!") else ("", pattern)
        if pattern:
            pattern = _clean(pattern)
            pattern = pattern[1:] if len(pattern) > 1 and pattern.startswith("/") else pattern
        patterns.append(negated + pattern)
    return tuple(patterns)


def _clean(path: str) -> str:
    clean = posixpath.normpath(path)
    return "/" + clean.lstrip("/") if clean.startswith("/") else clean


@dataclass(frozen=True, slots=True)
class _Pattern:
    regex: re.Pattern[str]
    brings_back: bool
    text: str


class Matches(NamedTuple):
    """What is known of a path: whether it stays out, and which patterns match it or a directory that it is in."""

    ignored: bool
    by_pattern: tuple[bool, ...]


class Matcher:
    """Tells which paths patterns keep out. Raises DockerfileError for patterns that are none."""

    def __init__(self, patterns: Sequence[str]) -> None:
        if len(patterns) > PATTERNS_LIMIT:
            raise DockerfileError(f"more than {PATTERNS_LIMIT} patterns in .dockerignore")
        self.patterns = tuple(patterns)
        self._patterns = [_compiled(pattern) for text in patterns if (pattern := text.strip())]
        self._brings_back = any(pattern.brings_back for pattern in self._patterns)

    def ignores(self, path: str) -> bool:
        """Whether `path`, relative to the context's root and with slashes, stays out."""
        path = posixpath.normpath(path)
        if path == ".":
            return False
        names = path.split("/")
        prefixes = [path, *("/".join(names[:count]) for count in range(1, len(names)))]
        is_ignored = False
        for pattern in self._patterns:
            if pattern.brings_back == is_ignored and any(pattern.regex.match(prefix) for prefix in prefixes):
                is_ignored = not pattern.brings_back
        return is_ignored

    def matches(self, path: str, above: Matches | None) -> Matches:
        """As `ignores`, on a walk: `above` is what was found for the path's directory, None below the root."""
        known = above.by_pattern if above is not None else (False,) * len(self._patterns)
        found = tuple(
            was or pattern.regex.match(path) is not None for was, pattern in zip(known, self._patterns, strict=True)
        )
        is_ignored = False
        for pattern, is_match in zip(self._patterns, found, strict=True):
            if is_match:
                is_ignored = not pattern.brings_back
        return Matches(is_ignored, found)

    def may_hold_kept(self, directory: str) -> bool:
        """Whether something below the ignored `directory` could be brought back."""
        if not self._brings_back:
            return False
        start = posixpath.normpath(directory).split("/")
        return any(pattern.brings_back and _may_be_below(pattern.text, start) for pattern in self._patterns)


def _may_be_below(pattern: str, start: list[str]) -> bool:
    """Whether a path that matches may begin with `start`: names without wildcards must be the same ones."""
    for wanted, actual in zip(pattern.split("/"), start, strict=False):
        if "**" in wanted:
            return True
        plain = _WILDCARD.split(wanted, maxsplit=1)
        if not actual.startswith(plain[0]) or (len(plain) == 1 and wanted != actual):
            return False
    return True


def _compiled(text: str) -> _Pattern:
    brings_back = text.startswith("!")
    pattern = text[1:] if brings_back else text
    if brings_back and not pattern:
        raise DockerfileError(f'illegal exclusion pattern: "{text}"')
    pattern = _clean(pattern)
    if len(pattern) > _PATTERN_LIMIT:
        raise DockerfileError(f"[{pattern[:64]}...]: the pattern is longer than {_PATTERN_LIMIT} characters")
    suffix = _SUFFIX.match(pattern)
    try:
        expression = rf".*{re.escape(suffix.group(1))}\Z" if suffix else _regex(list(_tokens(pattern)))
        regex = re.compile(expression, re.DOTALL)
    except ValueError as error:
        raise DockerfileError(f"[{pattern}]: {error}") from error
    return _Pattern(regex, brings_back, pattern)


def _tokens(text: str) -> Iterator[str]:
    """Wildcards and slashes by name, all else as regular expressions of one character. Raises ValueError."""
    position = 0
    while position < len(text):
        char = text[position]
        position += 1
        if text.startswith("**", position - 1):
            position += 1
            position += text.startswith("/", position)
            yield _DEEP if position < len(text) else _ALL
        elif char == "*":
            yield _STAR
        elif char == "/":
            yield _SLASH
        elif char == "?":
            yield "[^/]"
        elif char == "[":
            token, position = _character_class(text, position)
            yield token
        elif char == "\\":
            if position == len(text):
                raise ValueError(_SYNTAX)
            yield re.escape(text[position])
            position += 1
        else:
            yield re.escape(char)


def _character_class(text: str, position: int) -> tuple[str, int]:
    negated = text.startswith("^", position)
    position += negated
    ranges: list[str] = []
    while not (ranges and text.startswith("]", position)):
        first, position = _class_character(text, position)
        last = first
        if text.startswith("-", position):
            last, position = _class_character(text, position + 1)
        if last < first:
            raise ValueError(_SYNTAX)
        ranges.append(f"{re.escape(first)}-{re.escape(last)}")
    return f"[{'^' if negated else ''}{''.join(ranges)}]", position + 1


def _class_character(text: str, position: int) -> tuple[str, int]:
    char = text[position : position + 1]
    if not char or char in "-]":
        raise ValueError(_SYNTAX)
    if char == "\\":
        position += 1
        char = text[position : position + 1]
        if not char:
            raise ValueError(_SYNTAX)
    return char, position + 1


def _regex(tokens: list[str]) -> str:
    """The expression that matches a whole path."""
    parts = list(_split(tokens, _DEEP))
    result = _names(parts[0])
    free = 0
    for number, part in enumerate(parts[1:], 1):
        is_last = number == len(parts) - 1
        if not is_last and part and part[-1] == _SLASH:
            result += f"(?>(?:.*?/)??{_names(part)})"
        elif part or is_last:
            free += not is_last
            result += f"(?:.*/)?{_names(part)}"
    if free > _FREE_DEEP_LIMIT:
        raise ValueError("too many ** within names")
    return result + r"\Z"


def _names(tokens: Iterable[str]) -> str:
    """What stands between two `**`: names with `*` in them."""
    return "/".join(_name(list(name)) for name in _split(tokens, _SLASH))


def _name(tokens: list[str]) -> str:
    ends_open = bool(tokens) and tokens[-1] == _ALL
    chunks = ["".join(chunk) for chunk in _split(tokens[:-1] if ends_open else tokens, _STAR)]
    middle = "".join(f"(?>[^/]*?{chunk})" for chunk in chunks[1:-1] if chunk)
    last = f"[^/]*{chunks[-1]}" if len(chunks) > 1 else ""
    return chunks[0] + middle + last + (".*" if ends_open else "")


def _split(tokens: Iterable[str], separator: str) -> Iterator[list[str]]:
    part: list[str] = []
    for token in tokens:
        if token == separator:
            yield part
            part = []
        else:
            part.append(token)
    yield part
