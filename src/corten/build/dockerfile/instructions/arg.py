"""ARG: names that the build may be given, and what they are else. Pure; daemon.

Before the first FROM an ARG is for FROMs alone; a stage takes it by an ARG of its own without a default.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from corten.build.dockerfile.expansion import Expansion
from corten.build.dockerfile.flags import Flags
from corten.build.dockerfile.instruction import Instruction, some_arguments
from corten.build.dockerfile.parser import Node
from corten.build.dockerfile.state import StageState
from corten.build.dockerfile.words import split_quoted


@dataclass(frozen=True, slots=True, kw_only=True)
class Arg(Instruction):
    """Names, each with its default or None."""

    keyword = "ARG"
    names: tuple[tuple[str, str | None], ...]

    @classmethod
    def parse(cls, node: Node) -> Self:
        """One or more `name` or `name=default`."""
        Flags(node)
        names: list[tuple[str, str | None]] = []
        for word in split_quoted(some_arguments(node), node.escape):
            name, equals, default = word.partition("=")
            if not name:
                raise node.error("ARG names can not be blank")
            names.append((name, default if equals else None))
        return cls(node=node, names=tuple(names))

    def expand(self, expansion: Expansion) -> Self:
        """Names and defaults have variables."""
        names = [
            (expansion.word(name), None if default is None else expansion.word(default)) for name, default in self.names
        ]
        return replace(self, names=tuple(names))

    def apply(self, state: StageState) -> StageState:
        """Given values win over defaults; without either a name is declared and stays unset."""
        for name, default in self.names:
            value = state.overriding.get(name, default)
            state = state.with_argument(name, state.given.get(name) if value is None else value)
        return state

    def created_by(self, state: StageState) -> str:
        """With defaults, never with given values, which may be secrets."""
        words = [name if default is None else f"{name}={default}" for name, default in self.names]
        return " ".join([self.keyword, *words])
