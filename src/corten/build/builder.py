"""Runs a plan: the solver over its graph, a watcher of the client's face beside it. Daemon's loop."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from corten.build.cache import BuildCache
from corten.build.cache_mounts import CacheMounts
from corten.build.diagnosis import FailedStep
from corten.build.executor import Executor
from corten.build.export import image_id, image_of, steps_of, time_text, up_to
from corten.build.face import Face, Offers
from corten.build.fetching import Fetching
from corten.build.filesystem import FileSystem
from corten.build.graph import Vertex, in_order
from corten.build.operations import BaseImage
from corten.build.ops.copy import Copier
from corten.build.ops.download import Downloader
from corten.build.ops.git import GitCheckouts
from corten.build.ops.inputs import Inputs
from corten.build.ops.mounts import StepMounts
from corten.build.ops.run import Containers, Runner, RunSettings
from corten.build.ops.store import LayerStore, Snapshots
from corten.build.ops.worker import Operations, keying_of
from corten.build.outputs import Built
from corten.build.plan import Plan, Stage, Step
from corten.build.solver import Solver, State
from corten.build.trees.tree import Tree
from corten.engine.images.assemble import Assembler
from corten.engine.images.progress import Progress
from corten.errors import CortenError
from corten.spec.oci_image import Image
from corten.store.leases import Lease

_NANO = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildInputs:
    """What a plan runs on. `contexts` are by name, the build context's is empty; `epoch_s` is SOURCE_DATE_EPOCH."""

    contexts: Mapping[str, Tree]
    bases: Mapping[str, FileSystem]
    settings: RunSettings
    offers: Offers
    lease: Lease
    use_cache: bool = True
    epoch_s: int | None = None


class Builder:
    """Runs builds; one a daemon. `scratch` is a directory for files without names, `mounts` one for steps' mounts."""

    def __init__(
        self,
        *,
        containers: Containers,
        snapshots: Snapshots,
        assembler: Callable[[], Assembler],
        cache: BuildCache,
        caches: CacheMounts,
        scratch: Path,
        mounts: Path,
        fetching: Fetching,
    ) -> None:
        self._fetching = fetching
        self._caches = caches
        self._mounts = mounts
        self._containers = containers
        self._snapshots = snapshots
        self._assembler = assembler
        self._cache = cache
        self._scratch = scratch
        self._executor = Executor(cache)

    async def run(
        self,
        plan: Plan,
        inputs: BuildInputs,
        face: Face,
        progress: Progress,
    ) -> Built:
        """Build the target, and tell `face` of it. Raises FailedStep; nothing is left of the step then."""
        epoch_ns = None if inputs.epoch_s is None else inputs.epoch_s * _NANO
        store = LayerStore(
            assembler=self._assembler(),
            snapshots=self._snapshots,
            lease=inputs.lease,
            now_ns=time.time_ns,
            epoch_ns=epoch_ns,
            progress=progress,
        )
        target = plan.target.steps[-1].vertex
        solver = Solver([target], keying_of, use_cache=inputs.use_cache)
        images = _Images(solver, self._cache, inputs.bases, created="" if epoch_ns is None else time_text(epoch_ns))
        watcher = face.watch(plan, solver, images.id_after)
        trees = Inputs(store=store, contexts=inputs.contexts)
        mounts = StepMounts(
            store=store, inputs=trees, caches=self._caches, directory=self._mounts, offers=inputs.offers
        )
        limited = inputs.settings.is_limited
        downloader = Downloader(store=store, fetching=self._fetching, limited=limited)
        operations = Operations(
            runner=Runner(
                containers=self._containers, store=store, mounts=mounts, settings=inputs.settings, watcher=watcher
            ),
            copier=Copier(store=store, inputs=trees, new_file=self._new_file),
            downloader=downloader,
            checkouts=GitCheckouts(store=store, fetching=self._fetching, limited=limited),
            bases=inputs.bases,
        )
        try:
            await self._executor.run(
                solver, operations, inputs.lease, use_cache=inputs.use_cache, changed=watcher.changed
            )
        except (CortenError, OSError) as error:
            raise FailedStep(error, _failed_lines(target, solver)) from error
        finally:
            downloader.close()
        filesystem = solver.result(target)
        assert isinstance(filesystem, FileSystem)
        return Built(image=images.after(plan.target, plan.target.steps[-1], filesystem), filesystem=filesystem)

    def _new_file(self) -> BinaryIO:
        """A file that is gone with its descriptor (open(2), O_TMPFILE)."""
        self._scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
        fd = os.open(self._scratch, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        return os.fdopen(fd, "w+b")


def _failed_lines(target: Vertex, solver: Solver) -> tuple[int, int]:
    """The lines of the instruction that failed."""
    return next((vertex.lines for vertex in in_order([target]) if solver.state(vertex) is State.FAILED), (0, 0))


class _Images:
    """The images that the steps of a build amount to, as far as their file systems are known."""

    def __init__(self, solver: Solver, cache: BuildCache, bases: Mapping[str, FileSystem], *, created: str) -> None:
        self._solver = solver
        self._cache = cache
        self._bases = bases
        self._created = created

    def after(self, stage: Stage, step: Step, filesystem: FileSystem) -> Image:
        """The image after a step, whose file system stands below `filesystem` or is it."""
        base, steps = steps_of(stage)
        steps = steps[: steps.index(step) + 1]
        below = up_to(filesystem, base, steps, self._solver.key)
        return image_of(stage, steps, base, below, self._solver.key, created=self._created)

    def id_after(self, stage: Stage, step: Step) -> str:
        """The id of the image after a step; empty when nobody knows what it holds any more."""
        later = stage.steps[stage.steps.index(step) :]
        for vertex in dict.fromkeys(after.vertex for after in later):
            filesystem = self._known(vertex)
            if filesystem is not None:
                return image_id(self.after(stage, step, filesystem))
        return ""

    def _known(self, vertex: Vertex) -> FileSystem | None:
        result = self._solver.result(vertex)
        if isinstance(result, FileSystem):
            return result
        if isinstance(vertex.operation, BaseImage):
            return self._bases.get(vertex.operation.image_id)
        return self._cache.peek(self._solver.key(vertex))
