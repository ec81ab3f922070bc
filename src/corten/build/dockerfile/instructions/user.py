"""USER: who RUN, CMD and ENTRYPOINT are run as. Pure; daemon."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from corten.build.dockerfile.expansion import Expansion
from corten.build.dockerfile.flags import Flags
from corten.build.dockerfile.instruction import Instruction, one_argument
from corten.build.dockerfile.parser import Node
from corten.build.dockerfile.state import StageState


@dataclass(frozen=True, slots=True, kw_only=True)
class User(Instruction):
    """`user[:group]`, names or numbers; they are looked up in the root file system when something runs."""

    keyword = "USER"
    user: str

    @classmethod
    def parse(cls, node: Node) -> Self:
        """The rest of the line."""
        Flags(node)
        return cls(node=node, user=one_argument(node))

    def expand(self, expansion: Expansion) -> Self:
        """It has variables."""
        return replace(self, user=expansion.word(self.user))

    def apply(self, state: StageState) -> StageState:
        """The last one wins."""
        return state.with_config(user=self.user)

    def created_by(self, state: StageState) -> str:
        """`USER name`."""
        return f"{self.keyword} {self.user}"
