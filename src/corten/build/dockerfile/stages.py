"""A Dockerfile as stages of typed instructions, and what a build asks of it. Pure; daemon."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from corten.build.dockerfile.error import DockerfileError, ParseError
from corten.build.dockerfile.instruction import Instruction
from corten.build.dockerfile.instructions import parse_instruction
from corten.build.dockerfile.instructions.arg import Arg
from corten.build.dockerfile.instructions.from_ import From
from corten.build.dockerfile.instructions.onbuild import OnBuild
from corten.build.dockerfile.instructions.run import Run
from corten.build.dockerfile.parser import Source, parse_source

_RULES_LIMIT = 4096  # each is compared with those of the client


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedStage:
    """One FROM and what follows, up to the next."""

    index: int
    from_: From
    instructions: tuple[Instruction, ...] = ()

    @property
    def name(self) -> str:
        """The name that AS gives, or `stage-<index>`."""
        return self.from_.name or f"stage-{self.index}"

    @property
    def triggers(self) -> tuple[str, ...]:
        """What its ONBUILDs leave for stages that begin with it."""
        return tuple(found.trigger for found in self.instructions if isinstance(found, OnBuild))


@dataclass(frozen=True, slots=True, kw_only=True)
class Dockerfile:
    """A whole file: the ARGs before the first FROM, and the stages."""

    source: Source
    global_args: tuple[Arg, ...]
    stages: tuple[ParsedStage, ...]

    def target(self, name: str) -> ParsedStage:
        """The stage called `name`, the last one when it is empty. Raises DockerfileError."""
        if not name:
            return self.stages[-1]
        found = self.find(name, len(self.stages))
        if found is None:
            raise DockerfileError(f'target stage "{name}" could not be found')
        return found

    def find(self, name: str, before: int) -> ParsedStage | None:
        """The last stage of that name, whatever its case, of those whose index is below `before`."""
        wanted = name.lower()
        return next((stage for stage in reversed(self.stages[:before]) if stage.from_.name == wanted), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """What a client wants of a Dockerfile.

    `build_args` with None are not given. `platform` is the target's (`os/arch[/variant]`), empty for the builder's own,
    which is `build_platform`. `contexts` are named contexts by name: what their values mean says
    `contexts.py`. `network` is where RUN has none of its own, `hosts` what its /etc/hosts has besides. `egress` is the
    list of what RUN may reach, None without one. `is_check`: nothing is built, only checked.
    """

    build_args: Mapping[str, str | None] = field(default_factory=dict)
    target: str = ""
    platform: str = ""
    build_platform: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    contexts: Mapping[str, str] = field(default_factory=dict)
    network: str = ""
    hosts: tuple[str, ...] = ()
    egress: tuple[str, ...] | None = None
    is_check: bool = False

    @property
    def given_args(self) -> dict[str, str]:
        """The build arguments that have a value."""
        return {name: value for name, value in self.build_args.items() if value is not None}


def parse_dockerfile(data: bytes) -> Dockerfile:
    """The Dockerfile in `data`. Raises ParseError, and nothing else for any bytes whatever."""
    source = parse_source(data)
    global_args: list[Arg] = []
    stages: list[tuple[From, list[Instruction]]] = []
    rules = 0
    for node in source.nodes:
        instruction = parse_instruction(node)
        if isinstance(instruction, From):
            stages.append((instruction, []))
        elif stages:
            stages[-1][1].append(instruction)
            rules += len(instruction.egress or ()) if isinstance(instruction, Run) else 0
            if rules > _RULES_LIMIT:
                raise ParseError(f"more than {_RULES_LIMIT} egress rules", lines=node.lines)
        elif isinstance(instruction, Arg):
            global_args.append(instruction)
        else:
            raise ParseError("no build stage in current context", lines=node.lines)
    if not stages:
        raise ParseError("dockerfile contains no stages to build")
    return Dockerfile(
        source=source,
        global_args=tuple(global_args),
        stages=tuple(
            ParsedStage(index=index, from_=from_, instructions=tuple(instructions))
            for index, (from_, instructions) in enumerate(stages)
        ),
    )
