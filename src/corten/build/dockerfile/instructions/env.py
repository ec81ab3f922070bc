"""ENV: variables of the build and of the image's containers. Pure; daemon."""

from __future__ import annotations

from dataclasses import dataclass

from corten.build.dockerfile.instructions.pairs import PairsInstruction
from corten.build.dockerfile.state import StageState


@dataclass(frozen=True, slots=True, kw_only=True)
class Env(PairsInstruction):
    """Variables and their values."""

    keyword = "ENV"

    def apply(self, state: StageState) -> StageState:
        """The last of one name wins, in the place of the first."""
        return state.with_env(dict(self.pairs))
