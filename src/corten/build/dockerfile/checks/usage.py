"""Checks of what instructions do: commands, variables, secrets, paths. Pure; daemon."""

from __future__ import annotations

import re

from corten.build.dockerfile.checks.rule import Found, Rule, Subject
from corten.build.dockerfile.error import Lines, suggestion
from corten.build.dockerfile.instructions.add import Add, is_local
from corten.build.dockerfile.instructions.arg import Arg
from corten.build.dockerfile.instructions.cmd import Cmd
from corten.build.dockerfile.instructions.copy import Copy
from corten.build.dockerfile.instructions.entrypoint import Entrypoint
from corten.build.dockerfile.instructions.env import Env
from corten.build.dockerfile.instructions.healthcheck import HealthCheck
from corten.build.dockerfile.instructions.label import Label
from corten.build.dockerfile.instructions.maintainer import Maintainer
from corten.build.dockerfile.instructions.shell import Shell
from corten.build.dockerfile.instructions.workdir import Workdir
from corten.build.dockerfile.words import quoted

_SECRET = re.compile(
    r"(?:_|\A)(?:apikey|auth|credentials?|key|password|pword|passwd|secret|token)(?:_|\Z)", re.IGNORECASE
)
_NO_SECRET = re.compile(r"(?:_|\A)public(?:_|\Z)", re.IGNORECASE)


def _json_arguments(subject: Subject) -> Found:
    for stage in subject.dockerfile.stages:
        has_shell = False
        for instruction in stage.instructions:
            has_shell |= isinstance(instruction, Shell)
            if isinstance(instruction, Cmd | Entrypoint) and instruction.command.is_shell and not has_shell:
                yield instruction.node.lines, (instruction.keyword,)


def _maintainer(subject: Subject) -> Found:
    for _stage, instruction in subject.instructions():
        if isinstance(instruction, Maintainer):
            yield instruction.node.lines, ()


def _undefined_variable(subject: Subject) -> Found:
    for unset in subject.unset:
        meant = suggestion(unset.name, unset.known)
        yield unset.lines, (unset.name, f" (did you mean ${meant}?)" if meant else "")


def _multiple_instructions(subject: Subject) -> Found:
    for stage in subject.dockerfile.stages:
        last: dict[str, Lines] = {}
        for instruction in stage.instructions:
            if isinstance(instruction, Cmd | Entrypoint | HealthCheck):
                if instruction.keyword in last:
                    yield last[instruction.keyword], (instruction.keyword,)  # the one that does nothing
                last[instruction.keyword] = instruction.node.lines


def _relative_workdir(subject: Subject) -> Found:
    absolute: set[str] = set()
    for stage in subject.dockerfile.stages:
        is_known = stage.from_.base.lower() in absolute
        for instruction in stage.instructions:
            if isinstance(instruction, Workdir):
                is_absolute = instruction.path.startswith(("/", "$"))
                if not is_absolute and not is_known:
                    yield instruction.node.lines, (quoted(instruction.path),)
                is_known |= is_absolute
        if is_known and stage.from_.name:
            absolute.add(stage.from_.name)


def _secrets(subject: Subject) -> Found:
    for _stage, instruction in subject.instructions():
        names: list[str] = []
        if isinstance(instruction, Arg):
            names = [name for name, _default in instruction.names]
        elif isinstance(instruction, Env):
            names = [name for name, _value in instruction.pairs]
        for name in names:
            if _SECRET.search(name) and not _NO_SECRET.search(name):
                yield instruction.node.lines, (instruction.keyword, quoted(name))


def _legacy_pairs(subject: Subject) -> Found:
    for _stage, instruction in subject.instructions():
        if isinstance(instruction, Env | Label) and instruction.is_legacy:
            yield instruction.node.lines, (instruction.keyword, instruction.keyword)


def _ignored_file(subject: Subject) -> Found:
    if subject.ignored is None:
        return
    for _stage, instruction in subject.instructions():
        if isinstance(instruction, Add) or (isinstance(instruction, Copy) and not instruction.from_):
            for path in instruction.transfer.paths:
                if not is_local(path) or not subject.ignored.ignores(path.lstrip("/") or "."):
                    continue
                yield instruction.node.lines, (instruction.keyword.capitalize(), quoted(path))


RULES = (
    Rule(
        name="JSONArgsRecommended",
        description="JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS "
        "signals",
        text="JSON arguments recommended for {} to prevent unintended behavior related to OS signals",
        find=_json_arguments,
    ),
    Rule(
        name="MaintainerDeprecated",
        description="The MAINTAINER instruction is deprecated, use a label instead to define an image author",
        text="Maintainer instruction is deprecated in favor of using label",
        find=_maintainer,
    ),
    Rule(
        name="WorkdirRelativePath",
        description="Relative workdir without an absolute workdir declared within the build can have unexpected "
        "results if the base image changes",
        text="Relative workdir {} can have unexpected results if the base image changes",
        find=_relative_workdir,
    ),
    Rule(
        name="UndefinedVar",
        description="Variables should be defined before their use",
        text="Usage of undefined variable '${}'{}",
        find=_undefined_variable,
    ),
    Rule(
        name="MultipleInstructionsDisallowed",
        description="Multiple instructions of the same type should not be used in the same stage",
        text="Multiple {} instructions should not be used in the same stage because only the last one will be used",
        find=_multiple_instructions,
    ),
    Rule(
        name="LegacyKeyValueFormat",
        description="Legacy key/value format with whitespace separator should not be used",
        text='"{} key=value" should be used instead of legacy "{} key value" format',
        find=_legacy_pairs,
    ),
    Rule(
        name="SecretsUsedInArgOrEnv",
        description="Sensitive data should not be used in the ARG or ENV commands",
        text="Do not use ARG or ENV instructions for sensitive data ({} {})",
        find=_secrets,
    ),
    Rule(
        name="CopyIgnoredFile",
        description="Attempting to Copy file that is excluded by .dockerignore",
        text="Attempting to {} file {} that is excluded by .dockerignore",
        find=_ignored_file,
        is_experimental=True,
    ),
)
