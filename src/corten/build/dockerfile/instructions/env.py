"""ENV: variables of the build and of the image's containers. Pure; daemon."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from corten.build.dockerfile.expansion import Expansion
from corten.build.dockerfile.instruction import Instruction
from corten.build.dockerfile.instructions.pairs import Pairs, expanded_pairs, parse_pairs
from corten.build.dockerfile.parser import Node
from corten.build.dockerfile.state import StageState


@dataclass(frozen=True, slots=True, kw_only=True)
class Env(Instruction):
    """Names and values; `is_legacy` is the form without the equals sign."""

    keyword = "ENV"
    pairs: Pairs
    is_legacy: bool

    @classmethod
    def parse(cls, node: Node) -> Self:
        """`name=value ...` or `name value`."""
        pairs, is_legacy = parse_pairs(node)
        return cls(node=node, pairs=pairs, is_legacy=is_legacy)

    def expand(self, expansion: Expansion) -> Self:
        """Names and values have variables, as they were before the line."""
        return replace(self, pairs=expanded_pairs(self.pairs, expansion))

    def apply(self, state: StageState) -> StageState:
        """The last of one name wins, in the place of the first."""
        return state.with_env(dict(self.pairs))

    def created_by(self, state: StageState) -> str:
        """`ENV a=b c=d`."""
        return " ".join([self.keyword, *(f"{name}={value}" for name, value in self.pairs)])
