"""STOPSIGNAL: the signal that asks the image's containers to end. Pure; daemon."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass, replace
from typing import Self

from corten.build.dockerfile.expansion import Expansion
from corten.build.dockerfile.flags import Flags
from corten.build.dockerfile.instruction import Instruction, one_argument
from corten.build.dockerfile.parser import Node
from corten.build.dockerfile.state import StageState

_NAMES = {name.removeprefix("SIG") for name in signal.Signals.__members__}
_REAL_TIME = re.compile(r"(RTMIN(\+([1-9]|1[0-5]))?|RTMAX(-([1-9]|1[0-4]))?)\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class StopSignal(Instruction):
    """A name, with or without SIG, or a number."""

    keyword = "STOPSIGNAL"
    signal: str

    @classmethod
    def parse(cls, node: Node) -> Self:
        """The rest of the line."""
        Flags(node)
        return cls(node=node, signal=one_argument(node))

    def expand(self, expansion: Expansion) -> Self:
        """It has variables."""
        return replace(self, signal=expansion.word(self.signal))

    def apply(self, state: StageState) -> StageState:
        """The last one wins. Raises ValueError for no signal."""
        if not _is_signal(self.signal):
            raise ValueError(f"invalid signal: {self.signal}")
        return state.with_config(stop_signal=self.signal)

    def created_by(self, state: StageState) -> str:
        """`STOPSIGNAL name`."""
        return f"{self.keyword} {self.signal}"


def _is_signal(text: str) -> bool:
    if re.fullmatch(r"[0-9]{1,9}", text):
        return int(text) > 0
    name = text.upper().removeprefix("SIG")
    return name in _NAMES or bool(_REAL_TIME.match(name))
