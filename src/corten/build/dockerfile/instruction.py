"""What every instruction can do, and the base of their classes in `instructions/`. Pure; daemon.

An instruction is parsed without knowing any variable, expanded when its turn comes, and then applied: it changes the
stage's state and, for some, adds a vertex to the build's graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol, Self

from corten.build.dockerfile.error import DockerfileError
from corten.build.dockerfile.expansion import Expansion
from corten.build.dockerfile.parser import Node
from corten.build.dockerfile.state import StageState
from corten.build.dockerfile.words import json_strings
from corten.build.graph import Vertex


class Places(Protocol):
    """Where file systems come from, for an instruction that takes files of one."""

    def find(self, name: str) -> Vertex:
        """What `COPY --from=name` means: a stage, a named context or an image; the build context when it is empty."""

    @property
    def network(self) -> str:
        """The network of RUN where it names none."""

    @property
    def hosts(self) -> tuple[str, ...]:
        """What RUN's /etc/hosts has besides (`name:address`)."""

    @property
    def egress(self) -> tuple[str, ...] | None:
        """What RUN may reach, None without a list."""

    @property
    def hidden_environment(self) -> tuple[str, ...]:
        """NAME=value of proxies and their like, which RUN sees and no cache key, history or configuration shows."""

    @property
    def cache_namespace(self) -> str:
        """What the names of cache mounts begin with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """One instruction. `node` is what was written."""

    keyword: ClassVar[str] = ""
    node: Node

    @classmethod
    def parse(cls, node: Node) -> Self:
        """The instruction that `node` is. Raises ParseError."""
        raise NotImplementedError

    def expand(self, expansion: Expansion) -> Self:  # noqa: ARG002 - most have variables, some have none
        """With variables in their places. Raises ExpansionError or ValueError."""
        return self

    def apply(self, state: StageState) -> StageState:
        """The state after this instruction, which has been expanded. Raises ValueError."""
        return state

    def created_by(self, state: StageState) -> str:  # noqa: ARG002 - RUN's has the arguments, others need nothing
        """What the image's history says of it, in BuildKit's form; `state` is the one before."""
        return self.node.text

    @property
    def sources(self) -> tuple[str, ...]:
        """The stages, contexts or images that it takes files of, by name, known before any variable."""
        return ()

    def lower(self, root: Vertex, state: StageState, places: Places) -> Vertex:  # noqa: ARG002
        """The file system after it; `state` is the one after `apply`."""
        return root

    def expanded(self, expansion: Expansion) -> Self:
        """`expand`, with the lines in the error. Raises DockerfileError."""
        try:
            return self.expand(expansion)
        except ValueError as error:
            raise DockerfileError(str(error), lines=self.node.lines) from error

    def applied(self, state: StageState) -> StageState:
        """`apply`, with the lines in the error. Raises DockerfileError."""
        try:
            return self.apply(state)
        except ValueError as error:
            raise DockerfileError(str(error), lines=self.node.lines) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command line of RUN, CMD, ENTRYPOINT: words, or one line for the shell."""

    words: tuple[str, ...]
    is_shell: bool

    def arguments(self, state: StageState) -> list[str]:
        """What is executed."""
        return [*state.shell, *self.words] if self.is_shell else list(self.words)


def parse_command(node: Node, text: str | None = None) -> Command:
    """The JSON form where it is one, else the shell form. Raises ParseError."""
    text = node.arguments if text is None else text
    words = strings_of(node, text)
    return Command(words=(text,), is_shell=True) if words is None else Command(words=tuple(words), is_shell=False)


def strings_of(node: Node, text: str) -> list[str] | None:
    """`words.json_strings` with the line in the error."""
    try:
        return json_strings(text)
    except ValueError as error:
        raise node.error(str(error)) from error


def one_argument(node: Node) -> str:
    """The whole of the arguments, which are one. Raises ParseError when there is none."""
    if not node.arguments:
        raise node.error(f"{node.name} requires exactly one argument")
    return node.arguments


def some_arguments(node: Node) -> str:
    """The arguments. Raises ParseError when there are none."""
    if not node.arguments:
        raise node.error(f"{node.name} requires at least one argument")
    return node.arguments
