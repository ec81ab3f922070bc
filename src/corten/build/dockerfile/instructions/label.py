"""LABEL: metadata of the image. Pure; daemon."""

from __future__ import annotations

from dataclasses import dataclass

from corten.build.dockerfile.instructions.pairs import PairsInstruction
from corten.build.dockerfile.state import StageState


@dataclass(frozen=True, slots=True, kw_only=True)
class Label(PairsInstruction):
    """Labels and their values."""

    keyword = "LABEL"

    def apply(self, state: StageState) -> StageState:
        """Added to what there is; the last of one name wins."""
        return state.with_config(labels={**(state.config.labels or {}), **dict(self.pairs)})
