"""SHELL: what runs the shell form of RUN, CMD and ENTRYPOINT from here on. Pure; daemon."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from corten.build.dockerfile.flags import Flags
from corten.build.dockerfile.instruction import Instruction, some_arguments, strings_of
from corten.build.dockerfile.parser import Node
from corten.build.dockerfile.state import StageState
from corten.build.dockerfile.words import plain_list


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell(Instruction):
    """A program and its arguments, before the command line."""

    keyword = "SHELL"
    words: tuple[str, ...]

    @classmethod
    def parse(cls, node: Node) -> Self:
        """A JSON array, and nothing else."""
        Flags(node)
        words = strings_of(node, some_arguments(node))
        if words is None:
            raise node.error("SHELL requires the arguments to be in JSON form")
        if not words:
            raise node.error("SHELL requires at least one argument")
        return cls(node=node, words=tuple(words))

    def apply(self, state: StageState) -> StageState:
        """The image keeps it, for those that are built upon it."""
        return state.with_config(shell=list(self.words))

    def created_by(self, state: StageState) -> str:
        """`SHELL [a b]`, as Go prints a list."""
        return f"{self.keyword} {plain_list(self.words)}"
