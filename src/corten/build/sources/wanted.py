"""What plans take of each context, so that a source need not bring the rest. Pure; daemon."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from corten.build.graph import Vertex, in_order
from corten.build.operations import Context, Copy, Run
from corten.build.plan import Plan


def wanted(plans: Iterable[Plan]) -> dict[str, list[str]]:
    """Paths by the context's name (empty for the build context), sorted, with wildcards; empty for the whole."""
    found: dict[str, set[str]] = defaultdict(set)
    for vertex in in_order([plan.target.steps[-1].vertex for plan in plans]):
        for number, path in _taken(vertex):
            operation = vertex.inputs[number].operation
            if isinstance(operation, Context):
                found[operation.name].add(path.strip("/"))
    return {name: sorted(paths) for name, paths in found.items()}


def _taken(vertex: Vertex) -> Iterator[tuple[int, str]]:
    """The inputs' numbers, and what the operation takes of each."""
    operation = vertex.operation
    if isinstance(operation, Copy):
        for source in operation.sources:
            yield source.input, source.path
    elif isinstance(operation, Run):
        for mount in operation.mounts:
            if mount.input:
                yield mount.input, mount.source
