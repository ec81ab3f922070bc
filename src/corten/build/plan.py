"""What a Dockerfile amounts to: stages, and their steps with the vertices behind them. Pure; daemon.

The lowering (dockerfile/) makes a plan, the build service runs it: each step's file system from the solver, each
step's configuration from here.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from corten.build.graph import Vertex
from corten.build.operations import Merge
from corten.spec.docker.lint import LintWarning
from corten.spec.oci_image import Image, ImageConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """The image that a stage begins with; `digest` is what its name means, an index' or a manifest's, if known."""

    image_id: str
    image: Image
    digest: str = ""


class BaseImages(Protocol):
    """Where a lowering gets the images that FROM and COPY --from name."""

    async def resolve(self, reference: str, platform: str) -> Base:
        """The image, pulled first where that is needed; `platform` may be empty.

        Raises ImageNotFound, RegistryError, InvalidReference.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One instruction.

    `text` is what progress shows ("RUN make", after variables); `vertex` is the file system after the step: that of the
    step before when the instruction changes the configuration alone. `config` is the configuration after it, and
    `created_by` what the history says; empty for FROM and ARG before FROM, which have no history.
    """

    text: str
    lines: tuple[int, int]
    vertex: Vertex
    config: ImageConfig
    created_by: str = ""
    changes_files: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One FROM and what follows. `base` is an image, an earlier stage, or None for scratch."""

    index: int
    name: str
    platform: str
    base: Base | Stage | None
    steps: tuple[Step, ...]
    author: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A build: the stages that the target needs, in the order of the file, the target last.

    `warnings` are for everybody, as the classic builder has them; `findings` are those of the checks. `platform` is
    what it is built for, empty for the builder's own. `is_staged`: the file has more than one stage, whether they are
    needed or not.
    """

    stages: tuple[Stage, ...]
    platform: str = ""
    is_staged: bool = False
    warnings: tuple[str, ...] = ()
    findings: tuple[LintWarning, ...] = ()

    @property
    def target(self) -> Stage:
        """The stage that becomes the image."""
        return self.stages[-1]


def of_stages(plan: Plan, names: Collection[str]) -> frozenset[Vertex]:
    """What the stages of these names (or numbers) do themselves."""
    wanted = {name.lower() for name in names}
    found: set[Vertex] = set()
    for stage in plan.stages:
        if wanted & {stage.name.lower(), str(stage.index)} - {""}:
            found |= {step.vertex for step in stage.steps if step.changes_files}
    found |= {vertex.inputs[1] for vertex in found if isinstance(vertex.operation, Merge)}
    return frozenset(found)
