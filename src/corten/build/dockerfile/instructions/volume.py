"""VOLUME: where containers get volumes of their own. Pure; daemon."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from corten.build.dockerfile.expansion import Expansion
from corten.build.dockerfile.flags import Flags
from corten.build.dockerfile.instruction import Instruction, some_arguments, strings_of
from corten.build.dockerfile.parser import Node
from corten.build.dockerfile.state import StageState
from corten.build.dockerfile.words import plain_list, split_blanks


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume(Instruction):
    """Paths, as written: a relative one is the container's affair."""

    keyword = "VOLUME"
    paths: tuple[str, ...]

    @classmethod
    def parse(cls, node: Node) -> Self:
        """A JSON array or words."""
        Flags(node)
        text = some_arguments(node)
        paths = strings_of(node, text)
        paths = split_blanks(text) if paths is None else paths
        if not paths:
            raise node.error("VOLUME requires at least one argument")
        if not all(path.strip() for path in paths):
            raise node.error("VOLUME specified can not be an empty string")
        return cls(node=node, paths=tuple(path.strip() for path in paths))

    def expand(self, expansion: Expansion) -> Self:
        """Each has variables."""
        return replace(self, paths=tuple(expansion.word(path) for path in self.paths))

    def apply(self, state: StageState) -> StageState:
        """Added to what there is."""
        if not all(self.paths):
            raise ValueError("VOLUME specified can not be an empty string")
        return state.with_config(volumes={**(state.config.volumes or {}), **{path: {} for path in self.paths}})

    def created_by(self, state: StageState) -> str:
        """`VOLUME [/a /b]`, as Go prints a list."""
        return f"{self.keyword} {plain_list(self.paths)}"
