"""What a build's steps were shown is taken away also when the cache cannot be written."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from corten.build.builder import Builder
from corten.build.filesystem import FileSystem
from corten.build.graph import Vertex
from corten.build.operations import Scratch
from corten.build.plan import Plan, Stage, Step
from corten.errors import CortenError, Unavailable
from corten.lib.disk_full import DiskFull
from corten.spec.oci_image import ImageConfig


class Steps:
    """The operations, which have something to let go of."""

    is_closed = False

    async def close(self) -> None:
        self.is_closed = True


class Executor:
    """A build that fails, or not."""

    def __init__(self, error: CortenError | None) -> None:
        self._error = error

    async def run(self, *_args: object, **_options: object) -> None:
        if self._error is not None:
            raise self._error


@pytest.mark.parametrize("error", [None, Unavailable("no")], ids=["done", "failed"])
async def test_a_full_disk_leaves_no_mounts(monkeypatch: pytest.MonkeyPatch, error: CortenError | None) -> None:
    steps, root = Steps(), Vertex(Scratch())
    builder = Builder(
        containers=Any, snapshots=Any, assembler=Any, cache=Any, caches=Any, scratch=Any, mounts=Any, fetching=Any
    )  # type: ignore[arg-type]

    def adopt(_inputs: object) -> None:
        raise DiskFull("write the cache")

    monkeypatch.setattr(builder, "_adopt", adopt)
    monkeypatch.setattr(builder, "_operations", lambda *_args: steps)
    monkeypatch.setattr(builder, "_executor", Executor(error))
    monkeypatch.setattr("corten.build.builder.Solver.result", lambda _solver, _vertex: FileSystem())
    step = Step(text="FROM scratch", lines=(1, 1), vertex=root, config=ImageConfig())
    plan = Plan(stages=(Stage(index=0, name="", platform="", base=None, steps=(step,)),))
    watched = SimpleNamespace(begun=None, running=None, removed=None, changed=None)
    face: Any = SimpleNamespace(watch=lambda *_args: watched)
    inputs: Any = SimpleNamespace(
        epoch_s=None,
        use_cache=True,
        afresh=(),
        traveller=SimpleNamespace(lease=None),
        imports=None,
        whole=False,
        settings=SimpleNamespace(kept=None),
    )
    with pytest.raises(DiskFull):
        await builder.run(plan, inputs, face, Any)  # type: ignore[arg-type]
    assert steps.is_closed
