"""Runs a plan: the solver over its graph, a watcher of the client's face beside it. Daemon's loop."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec

from corten.build.cache import BuildCache
from corten.build.cache_mounts import CacheMounts
from corten.build.caching.collecting import Collected, cache_mounts_of, steps_of_graph
from corten.build.caching.imports import Imports
from corten.build.caching.travel import Traveller
from corten.build.diagnosis import FailedStep
from corten.build.executor import Executor, Stalls
from corten.build.export import image_id, image_of, steps_of, time_text, up_to
from corten.build.face import Face, Offers, Watcher
from corten.build.fetching import Fetching
from corten.build.filesystem import FileSystem
from corten.build.graph import Vertex, in_order
from corten.build.operations import BaseImage, Copy, Download, GitCheckout, MakeDirectory, Merge
from corten.build.ops.cache_contents import ImportedMounts
from corten.build.ops.copy import Copier
from corten.build.ops.download import Downloader
from corten.build.ops.git import GitCheckouts
from corten.build.ops.inputs import Inputs
from corten.build.ops.mounts import StepMounts
from corten.build.ops.offered import OfferedMounts
from corten.build.ops.run import Containers, Runner, RunSettings
from corten.build.ops.shown import ShownFiles
from corten.build.ops.store import LayerStore, Snapshots
from corten.build.ops.worker import Operations, keying_of
from corten.build.outputs import Built
from corten.build.plan import Plan, Stage, Step, of_stages
from corten.build.solver import Solver, State
from corten.build.trees.tree import Tree
from corten.engine.images.assemble import Assembler
from corten.engine.images.progress import Progress
from corten.errors import CortenError
from corten.spec.oci_image import Image

_NANO = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildInputs:
    """What a plan runs on. `contexts` are by name, the build context's is empty; the stages of `afresh` are built
    whatever the cache has; `epoch_s` is SOURCE_DATE_EPOCH, `whole` has the result's layers here in the end, and
    `collect` finds out what there is for a cache."""

    contexts: Mapping[str, Tree]
    bases: Mapping[str, FileSystem]
    settings: RunSettings
    offers: Offers
    traveller: Traveller
    imports: Imports
    use_cache: bool = True
    afresh: frozenset[str] = frozenset()
    epoch_s: int | None = None
    whole: bool = True
    collect: bool = False


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
    ) -> tuple[Built, Collected]:
        """Build the target, and tell `face` of it; the result, and what there is for a cache.

        Raises FailedStep; nothing is left of the step then.
        """
        created = "" if inputs.epoch_s is None else time_text(inputs.epoch_s * _NANO)
        target = plan.target.steps[-1].vertex
        solver = Solver([target], keying_of, use_cache=inputs.use_cache, afresh=of_stages(plan, inputs.afresh))
        known = _Known(solver, self._cache, inputs)
        images = _Images(solver, known, created=created)
        watcher = Stalls(face.watch(plan, solver, images.id_after))
        operations = self._operations(inputs, watcher, target, progress)
        try:
            await self._executor.run(
                solver,
                operations,
                inputs.traveller.lease,
                changed=watcher.changed,
                imports=inputs.imports,
                stalls=watcher,
            )
            filesystem = solver.result(target)
            assert isinstance(filesystem, FileSystem)
            if inputs.whole:
                await inputs.traveller.lazy.have(filesystem)
        except (CortenError, OSError) as error:
            if inputs.settings.kept is not None and (failed := _failed_copy(plan, solver)) is not None:
                below = known(failed.vertex.inputs[0])
                if below is not None:
                    inputs.traveller.lease.add(*below.keys())
                    await operations.keep(below, failed.config)
            raise FailedStep(error, _failed_lines(target, solver)) from error
        finally:
            try:
                self._adopt(inputs)
            finally:  # also when the cache's disk is full: nobody else takes the steps' mounts away
                await operations.close()
        built = Built(
            image=images.after(plan.target, plan.target.steps[-1], filesystem),
            filesystem=filesystem,
            fetched=_fetched(target, solver),
            commits=operations.commits,
        )
        steps = steps_of_graph([target], solver, known) if inputs.collect else []
        return built, Collected(steps=tuple(steps), mounts=tuple(cache_mounts_of([target])))

    def _operations(self, inputs: BuildInputs, watcher: Watcher, target: Vertex, progress: Progress) -> Operations:
        store = LayerStore(
            assembler=self._assembler(),
            snapshots=self._snapshots,
            lease=inputs.traveller.lease,
            now_ns=time.time_ns,
            progress=progress,
        )
        trees = Inputs(store=store, contexts=inputs.contexts)
        mounts = StepMounts(
            store=store,
            inputs=trees,
            caches=self._caches,
            directory=self._mounts,
            shown=ShownFiles(
                store=store, inputs=trees, directory=self._mounts, scratch=self._scratch, new_file=self._new_file
            ),
            imported=ImportedMounts(imports=inputs.imports, lazy=inputs.traveller.lazy, say=inputs.traveller.say),
        )
        offered = OfferedMounts(offers=inputs.offers, directory=self._mounts)
        limited = inputs.settings.is_limited
        return Operations(
            runner=Runner(
                containers=self._containers,
                store=store,
                mounts=mounts,
                offered=offered,
                settings=inputs.settings,
                watcher=watcher,
            ),
            copier=Copier(store=store, inputs=trees, new_file=self._new_file),
            downloader=Downloader(store=store, fetching=self._fetching, limited=limited),
            checkouts=GitCheckouts(store=store, fetching=self._fetching, offers=inputs.offers, limited=limited),
            bases=inputs.bases,
            lazy=inputs.traveller.lazy,
            target=target,
        )

    def _adopt(self, inputs: BuildInputs) -> None:
        """Have records of our own of what was imported and is here now."""
        for step in inputs.imports.used(inputs.traveller.lazy.is_complete):
            if self._cache.peek(step.key) is None:
                sized = self._sized(step.filesystem)
                self._cache.put(step.key, sized, own_layers=step.own_layers, description=step.name)
                for alias in step.aliases:
                    self._cache.alias(alias, step.key)

    def _sized(self, filesystem: FileSystem) -> FileSystem:
        """With the sizes of the layers' files, which nobody else knows."""
        pairs = zip(filesystem.layers, filesystem.chain, strict=True)
        return FileSystem(
            layers=tuple(
                msgspec.structs.replace(layer, size=self._snapshots.size(chain_id)) for layer, chain_id in pairs
            )
        )

    def _new_file(self) -> BinaryIO:
        """A file that is gone with its descriptor (open(2), O_TMPFILE)."""
        self._scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
        fd = os.open(self._scratch, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        return os.fdopen(fd, "w+b")


def _fetched(target: Vertex, solver: Solver) -> dict[Vertex, FileSystem]:
    """What ADD has brought from web servers and git repositories; provenance tells of it."""
    found = {}
    for vertex in in_order([target]):
        result = solver.result(vertex) if isinstance(vertex.operation, (Download, GitCheckout)) else None
        if isinstance(result, FileSystem):
            found[vertex] = result
    return found


def _failed_lines(target: Vertex, solver: Solver) -> tuple[int, int]:
    """The lines of the instruction that failed."""
    return next((vertex.lines for vertex in in_order([target]) if solver.state(vertex) is State.FAILED), (0, 0))


def _failed_copy(plan: Plan, solver: Solver) -> Step | None:
    """The step that failed, if it is one that changes a file system without a command."""
    for stage in plan.stages:
        for step in stage.steps:
            vertex = step.vertex.inputs[1] if isinstance(step.vertex.operation, Merge) else step.vertex
            if isinstance(vertex.operation, Copy | MakeDirectory) and solver.state(vertex) is State.FAILED:
                return step
    return None


class _Known:
    """The file systems of a build's vertices, as far as somebody knows them."""

    def __init__(self, solver: Solver, cache: BuildCache, inputs: BuildInputs) -> None:
        self._solver = solver
        self._cache = cache
        self._inputs = inputs

    def __call__(self, vertex: Vertex) -> FileSystem | None:
        result = self._solver.result(vertex)
        if isinstance(result, FileSystem):
            return result
        if isinstance(vertex.operation, BaseImage):
            return self._inputs.bases.get(vertex.operation.image_id)
        key = self._solver.key(vertex)
        return self._cache.peek(key) or self._inputs.imports.peek(key)


class _Images:
    """The images that the steps of a build amount to, as far as their file systems are known."""

    def __init__(self, solver: Solver, known: _Known, *, created: str) -> None:
        self._solver = solver
        self._known = known
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
