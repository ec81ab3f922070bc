"""MAINTAINER: the image's author; LABEL is what took its place. Pure; daemon."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from corten.build.dockerfile.flags import Flags
from corten.build.dockerfile.instruction import Instruction, one_argument
from corten.build.dockerfile.parser import Node
from corten.build.dockerfile.state import StageState


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintainer(Instruction):
    """The author, as written: there are no variables in it."""

    keyword = "MAINTAINER"
    author: str

    @classmethod
    def parse(cls, node: Node) -> Self:
        """The rest of the line."""
        Flags(node)
        return cls(node=node, author=one_argument(node))

    def apply(self, state: StageState) -> StageState:
        """The last one wins."""
        return replace(state, author=self.author)

    def created_by(self, state: StageState) -> str:
        """`MAINTAINER name`."""
        return f"{self.keyword} {self.author}"
