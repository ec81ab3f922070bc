"""What a check of a Dockerfile found, in the form of BuildKit's `lint` subrequest. Pure data; daemon.

Source: BuildKit's frontend subrequest `frontend.lint` (result.json). Lines count from 1.
"""

from __future__ import annotations

import msgspec


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """A line."""

    line: int


class Range(msgspec.Struct, frozen=True, kw_only=True):
    """From one line to another, which is part of it."""

    start: Position
    end: Position


class Location(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Lines of one of the sources."""

    source_index: int = 0
    ranges: list[Range] = []


class SourceFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that locations are in; `data` is base64 in JSON."""

    filename: str
    language: str = "Dockerfile"
    data: bytes = b""


class LintWarning(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What one rule found at one place: `detail` says it, `description` says what the rule is about."""

    rule_name: str
    description: str
    url: str
    detail: str
    location: Location


class BuildError(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why it cannot be built; without a location when no line is to blame."""

    message: str
    location: Location | None = None


class LintResults(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """All that was found; with `build_error`, why the build failed."""

    sources: list[SourceFile]
    warnings: tuple[LintWarning, ...] = ()
    build_error: BuildError | None = None


def location(lines: tuple[int, int]) -> Location:
    """The lines from the first to the last of `lines`."""
    first, last = lines
    return Location(ranges=[Range(start=Position(line=first), end=Position(line=last))])
