"""What a build check is: a rule, what it looks at, what it finds. Pure; daemon."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from corten.build.dockerfile.dockerignore import Matcher
from corten.build.dockerfile.error import Lines
from corten.build.dockerfile.instruction import Instruction
from corten.build.dockerfile.resolution import Images
from corten.build.dockerfile.stages import BuildRequest, Dockerfile, ParsedStage
from corten.spec.docker.lint import LintWarning, location

_URL = "https://docs.docker.com/go/dockerfile/rule/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unset:
    """A variable that an instruction asked for in vain; `known` are those that it could have meant."""

    name: str
    lines: Lines
    known: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What the rules look at. What only a build finds out may be left empty: unset variables, images, ignored files."""

    dockerfile: Dockerfile
    request: BuildRequest
    unset: tuple[Unset, ...] = ()
    images: Images | None = None
    ignored: Matcher | None = None

    def instructions(self) -> Iterator[tuple[ParsedStage, Instruction]]:
        """Every instruction behind a FROM, with its stage."""
        for stage in self.dockerfile.stages:
            for instruction in stage.instructions:
                yield stage, instruction


Found = Iterator[tuple[Lines, tuple[str, ...]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One check. `find` gives the lines of all that it finds, and what `text` says of each in its places."""

    name: str
    description: str
    text: str
    find: Callable[[Subject], Found]
    is_experimental: bool = False

    @property
    def url(self) -> str:
        """Where it is explained."""
        words = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", self.name)
        return f"{_URL}{words.lower()}/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that a rule found."""

    rule: Rule
    message: str
    lines: Lines

    @property
    def warning(self) -> LintWarning:
        """As clients are told of it."""
        return LintWarning(
            rule_name=self.rule.name,
            description=self.rule.description,
            url=self.rule.url,
            detail=self.message,
            location=location(self.lines),
        )
