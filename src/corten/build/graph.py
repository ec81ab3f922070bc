"""The build graph: vertices, each one operation on the file systems that its inputs give. Pure; daemon.

A vertex gives one file system. Its digest follows from the operation's definition and the inputs' digests: two vertices
with one digest are one piece of work. Nothing here knows Dockerfiles, and no operation knows the solver.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

from corten.build.operations import Operation


@dataclass(frozen=True, slots=True, eq=False)
class Vertex:
    """One operation. `name` and `lines` (first and last line of the Dockerfile, from 1) are for people: they are no
    part of the digest, by which vertices are compared."""

    operation: Operation
    inputs: tuple[Vertex, ...] = ()
    name: str = ""
    lines: tuple[int, int] = (0, 0)
    definition: bytes = field(init=False)  # the operation's
    digest: str = field(init=False)
    _below: tuple[Vertex, ...] | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        object.__setattr__(self, "definition", self.operation.definition())
        digest = hashlib.sha256(self.definition)
        for vertex in self.inputs:
            digest.update(vertex.digest.encode())
        object.__setattr__(self, "digest", digest.hexdigest())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vertex) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def below(self) -> tuple[Vertex, ...]:
        """Every vertex that this one needs, once, inputs before what stands on them; found out once."""
        if self._below is None:
            object.__setattr__(self, "_below", tuple(_walk(self.inputs)))
        assert self._below is not None
        return self._below


def in_order(targets: Sequence[Vertex]) -> Iterator[Vertex]:
    """Every vertex that the targets need, themselves included, once, inputs before what stands on them."""
    if len(targets) != 1:
        return _walk(targets)
    (target,) = targets
    return chain(target.below(), targets)


def _walk(targets: Sequence[Vertex]) -> Iterator[Vertex]:
    done: set[Vertex] = set()
    todo = [(target, False) for target in reversed(targets)]
    while todo:
        vertex, seen = todo.pop()
        if vertex in done:
            continue
        if seen:
            done.add(vertex)
            yield vertex
            continue
        todo.append((vertex, True))
        todo += [(below, False) for below in reversed(vertex.inputs) if below not in done]
