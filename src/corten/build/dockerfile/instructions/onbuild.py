"""ONBUILD: an instruction for the images that will be built upon this one. Pure; daemon."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from corten.build.dockerfile.flags import Flags
from corten.build.dockerfile.instruction import Instruction, some_arguments
from corten.build.dockerfile.parser import Node
from corten.build.dockerfile.state import StageState
from corten.build.dockerfile.words import split_first

_KEYWORD = re.compile(r"\s*ONBUILD\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class OnBuild(Instruction):
    """The trigger, as written, with its here-documents; its variables are those of the later build."""

    keyword = "ONBUILD"
    trigger: str

    @classmethod
    def parse(cls, node: Node) -> Self:
        """Any instruction but FROM, MAINTAINER and ONBUILD; whether it is a right one shows when it is built."""
        Flags(node)
        word = split_first(some_arguments(node))[0].upper()
        if word == "ONBUILD":
            raise node.error("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
        if word in ("MAINTAINER", "FROM"):
            raise node.error(f"{word} isn't allowed as an ONBUILD trigger")
        trigger = _KEYWORD.sub("", node.text, count=1)
        return cls(node=node, trigger=trigger + "".join(f"\n{h.content}{h.name}" for h in node.heredocs))

    def apply(self, state: StageState) -> StageState:
        """Added behind those there are."""
        return state.with_config(on_build=[*(state.config.on_build or []), self.trigger])

    def created_by(self, state: StageState) -> str:
        """`ONBUILD` and the trigger."""
        return f"{self.keyword} {self.trigger}"
