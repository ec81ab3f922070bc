"""Checks of FROM: stage names, platforms, bases. Pure; daemon."""

from __future__ import annotations

import re

from corten.build.dockerfile.checks.rule import Found, Rule, Subject
from corten.build.dockerfile.error import did_you_mean
from corten.build.dockerfile.expansion import Expansion, ExpansionError
from corten.build.dockerfile.resolution import ImageSource
from corten.build.dockerfile.scope import GlobalScope, global_scope, platform_args
from corten.build.dockerfile.stages import BuildRequest
from corten.build.dockerfile.words import quoted
from corten.errors import InvalidArgument
from corten.spec import platform as platforms
from corten.spec import reference as references

_RESERVED = ("context", "scratch")
_TARGET_PLATFORM = re.compile(r"\$(?:TARGETPLATFORM|\{TARGETPLATFORM\})\Z")


def _name_casing(subject: Subject) -> Found:
    for stage in subject.dockerfile.stages:
        written = stage.from_.name_as_written
        if written != written.lower():
            yield stage.from_.node.lines, (written,)


def _duplicate_name(subject: Subject) -> Found:
    seen: set[str] = set()
    for stage in subject.dockerfile.stages:
        name = stage.from_.name
        if name and name in seen:
            yield stage.from_.node.lines, (quoted(name),)
        seen.add(name)


def _reserved_name(subject: Subject) -> Found:
    for stage in subject.dockerfile.stages:
        if stage.from_.name in _RESERVED:
            yield stage.from_.node.lines, (quoted(stage.from_.name),)


def _undefined_arg(subject: Subject) -> Found:
    scope = _scope(subject, subject.request)
    for stage in subject.dockerfile.stages:
        unset: set[str] = set()
        _expanded(stage.from_.base, scope, unset)
        _expanded(stage.from_.platform, scope, unset)
        known = [*_argument_names(subject), *platform_args(subject.request)]
        for name in sorted(unset - set(_argument_names(subject))):
            yield stage.from_.node.lines, (name, did_you_mean(name, known))


def _argument_names(subject: Subject) -> list[str]:
    return [name for arg in subject.dockerfile.global_args for name, _default in arg.names]


def _invalid_default(subject: Subject) -> Found:
    """What FROM becomes when the build is given no arguments at all."""
    scope = _scope(subject, BuildRequest(platform=subject.request.platform))
    for stage in subject.dockerfile.stages:
        base = _expanded(stage.from_.base, scope, set())
        if "$" in stage.from_.base and base is not None and not _is_base(base):
            yield stage.from_.node.lines, (stage.from_.base,)


def _is_base(text: str) -> bool:
    try:
        references.parse(text)
    except InvalidArgument:
        return False
    return True


def _constant_platform(subject: Subject) -> Found:
    for stage in subject.dockerfile.stages:
        platform = stage.from_.platform
        if not platform or "$" in platform:
            continue
        try:
            parsed = platforms.parse(platform)
        except InvalidArgument:
            continue
        # a stage that is named for its platform means it
        if not any(part in stage.from_.name for part in (parsed.os, parsed.architecture)):
            yield stage.from_.node.lines, (quoted(platform),)


def _redundant_platform(subject: Subject) -> Found:
    for stage in subject.dockerfile.stages:
        if _TARGET_PLATFORM.match(stage.from_.platform):
            yield stage.from_.node.lines, (stage.from_.platform,)


def _base_platform(subject: Subject) -> Found:
    for source, base in (subject.images or {}).items():
        actual = base.image.platform
        if not source.platform or platforms.matches(actual, platforms.parse(source.platform)):
            continue
        words = (source.reference, quoted(str(actual)), quoted(source.platform))
        yield _lines_of(subject, source), words


def _lines_of(subject: Subject, source: ImageSource) -> tuple[int, int]:
    scope = _scope(subject, subject.request)
    for stage in subject.dockerfile.stages:
        if _expanded(stage.from_.base, scope, set()) == source.reference:
            return stage.from_.node.lines
    return (0, 0)


def _scope(subject: Subject, request: BuildRequest) -> GlobalScope:
    return global_scope(subject.dockerfile, request)


def _expanded(text: str, scope: GlobalScope, unset: set[str]) -> str | None:
    try:
        return Expansion(scope.variables, unset=unset).word(text)
    except ExpansionError:
        return None


RULES = (
    Rule(
        name="StageNameCasing",
        description="Stage names should be lowercase",
        text="Stage name '{}' should be lowercase",
        find=_name_casing,
    ),
    Rule(
        name="DuplicateStageName",
        description="Stage names should be unique",
        text="Duplicate stage name {}, stage names should be unique",
        find=_duplicate_name,
    ),
    Rule(
        name="ReservedStageName",
        description="Reserved words should not be used as stage names",
        text="Stage name should not use the same name as reserved stage {}",
        find=_reserved_name,
    ),
    Rule(
        name="UndefinedArgInFrom",
        description="FROM command must use declared ARGs",
        text="FROM argument '{}' is not declared{}",
        find=_undefined_arg,
    ),
    Rule(
        name="InvalidDefaultArgInFrom",
        description="Default value for global ARG results in an empty or invalid base image name",
        text="Default value for ARG {} results in empty or invalid base image name",
        find=_invalid_default,
    ),
    Rule(
        name="FromPlatformFlagConstDisallowed",
        description="FROM --platform flag should not use a constant value",
        text="FROM --platform flag should not use constant value {}",
        find=_constant_platform,
    ),
    Rule(
        name="RedundantTargetPlatform",
        description="Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default "
        "behavior",
        text="Setting platform to predefined {} in FROM is redundant as this is the default behavior",
        find=_redundant_platform,
    ),
    Rule(
        name="InvalidBaseImagePlatform",
        description="Base image platform does not match expected target platform",
        text="Base image {} was pulled with platform {}, expected {} for current build",
        find=_base_platform,
    ),
)
