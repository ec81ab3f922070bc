"""What ENV and LABEL have in common: name=value pairs. Pure; daemon."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from corten.build.dockerfile.expansion import Expansion
from corten.build.dockerfile.flags import Flags
from corten.build.dockerfile.instruction import Instruction, some_arguments
from corten.build.dockerfile.parser import Node
from corten.build.dockerfile.state import StageState
from corten.build.dockerfile.words import split_pairs


@dataclass(frozen=True, slots=True, kw_only=True)
class PairsInstruction(Instruction):
    """Names and values; `is_legacy` is the form without the equals sign."""

    pairs: tuple[tuple[str, str], ...]
    is_legacy: bool

    @classmethod
    def parse(cls, node: Node) -> Self:
        """`name=value ...` or `name value`. Raises ParseError."""
        Flags(node)
        try:
            pairs, is_legacy = split_pairs(node.name, some_arguments(node), node.escape)
        except ValueError as error:
            raise node.error(str(error)) from error
        if not all(name for name, _value in pairs):
            raise node.error(f"{node.name} names can not be blank")
        return cls(node=node, pairs=tuple(pairs), is_legacy=is_legacy)

    def expand(self, expansion: Expansion) -> Self:
        """Names and values have variables, as they were before the line."""
        return replace(self, pairs=tuple((expansion.word(name), expansion.word(value)) for name, value in self.pairs))

    def created_by(self, state: StageState) -> str:
        """`ENV a=b c=d`."""
        return " ".join([self.keyword, *(f"{name}={value}" for name, value in self.pairs)])
