"""Checks of how words are written: keywords, AS, protocols, continuations, descriptions. Pure; daemon."""

from __future__ import annotations

from corten.build.dockerfile.checks.rule import Found, Rule, Subject
from corten.build.dockerfile.instructions.arg import Arg
from corten.build.dockerfile.instructions.expose import Expose
from corten.build.dockerfile.parser import Node


def _instruction_casing(subject: Subject) -> Found:
    nodes = subject.dockerfile.source.nodes
    lower = sum(node.keyword.islower() for node in nodes)
    upper = sum(node.keyword.isupper() for node in nodes)
    change, name = (str.lower, "lowercase") if lower > upper else (str.upper, "uppercase")
    for node in nodes:
        if node.keyword != change(node.keyword):
            yield node.lines, (node.keyword, name)


def _as_casing(subject: Subject) -> Found:
    for stage in subject.dockerfile.stages:
        keyword, as_keyword = stage.from_.node.keyword, stage.from_.as_keyword
        differs = (keyword.islower() and not as_keyword.islower()) or (keyword.isupper() and not as_keyword.isupper())
        if as_keyword and differs:
            yield stage.from_.node.lines, (as_keyword, keyword)


def _empty_continuation(subject: Subject) -> Found:
    for node in subject.dockerfile.source.nodes:
        if node.empty_continuation:
            yield (node.lines[1], node.lines[1]), ()


def _protocol_casing(subject: Subject) -> Found:
    for _stage, instruction in subject.instructions():
        if isinstance(instruction, Expose):
            for port in instruction.ports:
                protocol = port.partition("/")[2]
                if protocol != protocol.lower() and "$" not in protocol:
                    yield instruction.node.lines, (port,)


def _expose_format(subject: Subject) -> Found:
    for _stage, instruction in subject.instructions():
        if isinstance(instruction, Expose):
            for port in instruction.ports:
                if ":" in port and "$" not in port:
                    yield instruction.node.lines, (port,)


def _description(subject: Subject) -> Found:
    def check(node: Node, name: str) -> Found:
        if name and node.comments and not any(comment.split(" ")[0] == name for comment in node.comments):
            yield node.lines, (node.name, name)

    for stage in subject.dockerfile.stages:
        yield from check(stage.from_.node, stage.from_.name)
    args = [arg for _stage, arg in subject.instructions() if isinstance(arg, Arg)]
    for arg in (*subject.dockerfile.global_args, *args):
        if len(arg.names) == 1:
            yield from check(arg.node, arg.names[0][0])


RULES = (
    Rule(
        name="ConsistentInstructionCasing",
        description="All commands within the Dockerfile should use the same casing (either upper or lower)",
        text="Command '{}' should match the case of the command majority ({})",
        find=_instruction_casing,
    ),
    Rule(
        name="FromAsCasing",
        description="The 'as' keyword should match the case of the 'from' keyword",
        text="'{}' and '{}' keywords' casing do not match",
        find=_as_casing,
    ),
    Rule(
        name="NoEmptyContinuation",
        description="Empty continuation lines will become errors in a future release",
        text="Empty continuation line",
        find=_empty_continuation,
    ),
    Rule(
        name="ExposeProtoCasing",
        description="Protocol in EXPOSE instruction should be lowercase",
        text="Defined protocol '{}' in EXPOSE instruction should be lowercase",
        find=_protocol_casing,
    ),
    Rule(
        name="ExposeInvalidFormat",
        description="IP address and host-port mapping should not be used in EXPOSE instruction. "
        "This will become an error in a future release",
        text="EXPOSE instruction should not define an IP address or host-port mapping, found '{}'",
        find=_expose_format,
    ),
    Rule(
        name="InvalidDefinitionDescription",
        description="Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. "
        "If this is not intended to be a description comment, add an empty line or comment between the instruction and "
        "the comment.",
        text="Comment for {} should follow the format: `# {} <description>`",
        find=_description,
        is_experimental=True,
    ),
)
