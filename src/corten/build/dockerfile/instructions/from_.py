"""FROM: a stage begins with an image, an earlier stage, a named context or nothing. Pure; daemon.

Variables in it are the global ARGs alone. `stages` resolves what the name means.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Self

from corten.build.dockerfile.expansion import Expansion
from corten.build.dockerfile.flags import Flags
from corten.build.dockerfile.instruction import Instruction
from corten.build.dockerfile.parser import Node
from corten.build.dockerfile.state import StageState
from corten.build.dockerfile.words import quoted, split_blanks

_STAGE_NAME = re.compile(r"[a-z][a-z0-9-_.]*\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class From(Instruction):
    """`name` is the stage's own, in lower case; `name_as_written` and `as_keyword` are for the checks."""

    keyword = "FROM"
    base: str
    name: str = ""
    platform: str = ""
    name_as_written: str = ""
    as_keyword: str = ""

    @classmethod
    def parse(cls, node: Node) -> Self:
        """`[--platform=p] base [AS name]`."""
        words = split_blanks(node.arguments)
        if not (len(words) == 1 or (len(words) == 3 and words[1].upper() == "AS")):
            raise node.error("FROM requires either one or three arguments")
        as_keyword, written = (words[1], words[2]) if len(words) == 3 else ("", "")
        name = written.lower()
        if written and not _STAGE_NAME.match(name):
            raise node.error(
                f"invalid name for build stage: {quoted(written)}, name can't start with a number or contain symbols"
            )
        platform = Flags(node, texts=("platform",)).text("platform")
        return cls(
            node=node, base=words[0], name=name, platform=platform, name_as_written=written, as_keyword=as_keyword
        )

    def expand(self, expansion: Expansion) -> Self:
        """The base and the platform have variables."""
        base = expansion.word(self.base)
        if not base:
            raise ValueError(f"base name ({self.base}) should not be blank")
        platform = expansion.word(self.platform)
        if self.platform and not platform:
            raise ValueError(f"empty platform value from expression {self.platform}")
        return replace(self, base=base, platform=platform)

    def created_by(self, state: StageState) -> str:
        """Nothing: the history is the base's."""
        return ""
