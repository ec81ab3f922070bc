"""ENTRYPOINT: the command that a container's arguments are given to. Pure; daemon."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from corten.build.dockerfile.flags import Flags
from corten.build.dockerfile.instruction import Command, Instruction, parse_command
from corten.build.dockerfile.parser import Node
from corten.build.dockerfile.state import StageState
from corten.build.dockerfile.words import quoted_list


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrypoint(Instruction):
    """A command in JSON or shell form, which keeps its variables for the container's shell."""

    keyword = "ENTRYPOINT"
    command: Command

    @classmethod
    def parse(cls, node: Node) -> Self:
        """An empty JSON array takes away what the base image has."""
        Flags(node)
        return cls(node=node, command=parse_command(node))

    def apply(self, state: StageState) -> StageState:
        """The base image's CMD was meant for another entrypoint: it goes, unless this stage set one of its own."""
        changed = state.with_config(entrypoint=self.command.arguments(state))
        return changed if state.cmd_is_set else changed.with_config(cmd=None)

    def created_by(self, state: StageState) -> str:
        """`ENTRYPOINT ["a" "b"]`, as Go prints a list."""
        return f"{self.keyword} {quoted_list(self.command.arguments(state))}"
