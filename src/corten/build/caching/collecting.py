"""What a build that is solved has to give to a cache: the records of its steps. Pure; daemon."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from corten.build.caching.format import Step
from corten.build.filesystem import FileSystem
from corten.build.graph import Vertex, in_order
from corten.build.operations import Mount, Run
from corten.build.solver import Solver

Known = Callable[[Vertex], FileSystem | None]


def steps_of_graph(targets: Sequence[Vertex], solver: Solver, known: Known) -> list[Step]:
    """The records of all steps whose keys and results are known."""
    steps: dict[str, Step] = {}
    for vertex in in_order(targets):
        key, filesystem = solver.key(vertex), known(vertex)
        if key and vertex.inputs and filesystem is not None and filesystem.layers:
            fast = solver.fast_key(vertex)
            steps[key] = Step(
                key=key,
                filesystem=filesystem,
                own_layers=_own(filesystem, key),
                aliases=(fast,) if fast and fast != key else (),
                name=vertex.name,
            )
    return list(steps.values())


def steps_of_result(steps: Iterable[Step], result: FileSystem) -> list[Step]:
    """Those of `steps` whose layers the result has, and those that its layers tell of."""
    diff_ids = [layer.diff_id for layer in result.layers]
    found = {step.key: step for step in steps if _diff_ids(step) == diff_ids[: len(step.filesystem.layers)]}
    for number, layer in enumerate(result.layers, 1):
        is_last = number == len(result.layers) or result.layers[number].key != layer.key
        if layer.key and is_last and layer.key not in found:
            below = FileSystem(layers=result.layers[:number])
            found[layer.key] = Step(key=layer.key, filesystem=below, own_layers=_own(below, layer.key))
    return list(found.values())


def cache_mounts_of(targets: Sequence[Vertex]) -> list[Mount]:
    """The cache mounts of a build's steps that begin empty, each once."""
    operations = (vertex.operation for vertex in in_order(targets))
    mounts = [mount for run in operations if isinstance(run, Run) for mount in run.mounts]
    return list(dict.fromkeys(mount for mount in mounts if mount.kind == "cache" and not mount.input))


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What a solved build has for a cache: records of all steps that are known, and the cache mounts that steps use."""

    steps: tuple[Step, ...] = ()
    mounts: tuple[Mount, ...] = ()

    def of_result(self, result: FileSystem) -> list[Step]:
        """The records of the result's own steps."""
        return steps_of_result(self.steps, result)


def _own(filesystem: FileSystem, key: str) -> int:
    count = 0
    for layer in reversed(filesystem.layers):
        if layer.key != key:
            break
        count += 1
    return count


def _diff_ids(step: Step) -> list[str]:
    return [layer.diff_id for layer in step.filesystem.layers]
