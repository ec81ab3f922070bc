"""CMD: the default command, or the default arguments of ENTRYPOINT. Pure; daemon."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from corten.build.dockerfile.flags import Flags
from corten.build.dockerfile.instruction import Command, Instruction, parse_command
from corten.build.dockerfile.parser import Node
from corten.build.dockerfile.state import StageState
from corten.build.dockerfile.words import quoted_list


@dataclass(frozen=True, slots=True, kw_only=True)
class Cmd(Instruction):
    """A command in JSON or shell form, which keeps its variables for the container's shell."""

    keyword = "CMD"
    command: Command

    @classmethod
    def parse(cls, node: Node) -> Self:
        """An empty JSON array takes away what the base image has."""
        Flags(node)
        return cls(node=node, command=parse_command(node))

    def apply(self, state: StageState) -> StageState:
        """The last one wins. A shell form is already escaped for Windows' sake, as Docker writes of each CMD."""
        arguments = self.command.arguments(state)
        return replace(state.with_config(cmd=arguments, args_escaped=True), cmd_is_set=True)

    def created_by(self, state: StageState) -> str:
        """`CMD ["a" "b"]`, as Go prints a list."""
        return f"{self.keyword} {quoted_list(self.command.arguments(state))}"
