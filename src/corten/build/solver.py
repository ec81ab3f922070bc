"""The solver: decides what of a build graph is asked of the cache, digested and executed, and when. Pure; daemon.

It does nothing itself. `begin` and each report of what was done return the actions to start next; `executor.py` carries
them out. Work is done on demand, from the targets down: a vertex whose record the cache has needs no result of its
inputs, so that a finished build looks up one record and touches no base image.

A vertex' cache key is a digest of its operation's definition and its inputs' keys. How it is found out is the
operation's `Keying`: for copies the second key is made of the first input's key and the *content* of the others, so
that a changed file elsewhere, or another way to the same files, changes nothing. A record under the first key names the
second one, which is the key that counts above.

    INITIAL -> KEYED -> CACHE_FAST -> BLOCKED -> EXECUTING -> COMPLETE
       |                   |            ^
       +------ CACHE_FAST -+-> SOURCES -> DIGESTING -> KEYED -> CACHE_SLOW -> BLOCKED ...
       +-> DIGESTING -> KEYED -> CACHE_FAST -> BLOCKED ... (what is fetched)
    and from each of them to FAILED (one vertex a build) or CANCELLED (all others that are not complete)
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, field
from enum import Enum, auto
from operator import attrgetter
from typing import NamedTuple

from corten.build.graph import Vertex, in_order

_VERSION = b"1 "  # of what operations do: another one finds nothing of what was made before


class Keying(Enum):
    """How an operation's cache key comes about."""

    DEFINITION = auto()  # definition and input keys
    CONTENT = auto()  # definition, the first input's key, and what is taken of the others
    IDENTITY = auto()  # definition, and what is there now: its origin is asked in each build
    RESULT = auto()  # only the result tells: it is executed in each build
    LOCAL = auto()  # part of the request: it is there, and has no key


class State(Enum):
    """Where a vertex is (see the module)."""

    INITIAL = auto()
    KEYED = auto()
    CACHE_FAST = auto()
    SOURCES = auto()
    DIGESTING = auto()
    CACHE_SLOW = auto()
    BLOCKED = auto()
    EXECUTING = auto()
    COMPLETE = auto()
    FAILED = auto()
    CANCELLED = auto()


class Kind(Enum):
    """What there is to do."""

    LOOK_UP = auto()  # report with `looked_up`
    DIGEST = auto()  # report with `digested`
    EXECUTE = auto()  # report with `executed`


class Action(NamedTuple):
    """One thing to do for a vertex; `key` is what is looked up, or what a result is stored under."""

    kind: Kind
    vertex: Vertex
    key: str = ""


class Found(NamedTuple):
    """A record of the cache: the key that counts for dependents, and the result."""

    key: str
    result: object


@dataclass(slots=True, eq=False)
class _Edge:
    """What is known of a vertex."""

    vertex: Vertex
    keying: Keying
    inputs: list[_Edge] = field(default_factory=list)
    dependents: list[_Edge] = field(default_factory=list)
    state: State = State.INITIAL
    fast_key: str = ""
    key: str = ""
    key_wanted: bool = False
    result_wanted: bool = False
    missed: bool = False  # the cache did not have it, or not what it stands on
    result: object = None
    cached: bool = False
    # whether its record may be looked for by what it is and stands on, and by the content that it takes
    by_definition: bool = True
    by_content: bool = True


_OF_INPUTS = (Keying.DEFINITION, Keying.CONTENT)
_OVER = (State.COMPLETE, State.FAILED, State.CANCELLED)


_BY_DEFINITION, _BY_CONTENT = attrgetter("by_definition"), attrgetter("by_content")


class Solver:
    """One build. `keying` tells how an operation is keyed; without `use_cache` nothing is looked up, and what is in
    `afresh` is not, nor what follows from it: only content that is the same after all may be known."""

    def __init__(
        self,
        targets: Iterable[Vertex],
        keying: Callable[[Vertex], Keying],
        *,
        use_cache: bool = True,
        afresh: Container[Vertex] = (),
    ) -> None:
        self._targets = list(targets)
        self._edges = {vertex.digest: _Edge(vertex, keying(vertex)) for vertex in in_order(self._targets)}
        for edge in self._edges.values():
            edge.inputs = [self._edges[below.digest] for below in edge.vertex.inputs]
            for below in set(edge.inputs):
                below.dependents.append(edge)
            self._limit(edge, use_cache=use_cache and edge.vertex not in afresh)
        self._actions: list[Action] = []
        self._todo: list[_Edge] = []
        self._over = False

    def _limit(self, edge: _Edge, *, use_cache: bool) -> None:
        """Say what may be looked for; those of its inputs are limited already."""
        inputs = edge.inputs
        edge.by_definition = use_cache and all(map(_BY_DEFINITION, inputs))
        counted = inputs[:1] if edge.keying is Keying.CONTENT else inputs
        edge.by_content = use_cache and all(map(_BY_CONTENT, counted))

    # -- what is asked

    def may_be_known(self, vertex: Vertex) -> bool:
        """Whether another build's record of the same work serves."""
        return self._edges[vertex.digest].by_content

    @property
    def done(self) -> bool:
        """Whether nothing is left to do: all targets are complete, or the build is over."""
        return self._over or all(self._edges[vertex.digest].state is State.COMPLETE for vertex in self._targets)

    def state(self, vertex: Vertex) -> State:
        """Where a vertex is."""
        return self._edges[vertex.digest].state

    def key(self, vertex: Vertex) -> str:
        """Its cache key; empty while it is not known, or when it has none."""
        return self._edges[vertex.digest].key

    def fast_key(self, vertex: Vertex) -> str:
        """The key that follows from definitions alone; empty when there is none, or it is `key` itself."""
        return self._edges[vertex.digest].fast_key

    def result(self, vertex: Vertex) -> object:
        """The result of a complete vertex."""
        return self._edges[vertex.digest].result

    def is_cached(self, vertex: Vertex) -> bool:
        """Whether the cache had it, or had what stands on it."""
        edge = self._edges[vertex.digest]
        return edge.cached or edge.state is not State.COMPLETE

    def settled(self) -> set[Vertex]:
        """To what nothing more will happen: it is complete, or nobody will want its result any more."""
        found: set[_Edge] = set()
        for edge in reversed(self._edges.values()):  # what stands on others first
            if edge.state in _OVER:
                found.add(edge)
            elif edge.result_wanted or edge.state in (State.CACHE_FAST, State.SOURCES, State.DIGESTING):
                continue
            elif found.issuperset(edge.dependents):
                found.add(edge)
        return {edge.vertex for edge in found}

    # -- what happens

    def begin(self) -> list[Action]:
        """Start: the first actions."""
        for vertex in self._targets:
            self._want_result(self._edges[vertex.digest])
        return self._go_on()

    def looked_up(self, vertex: Vertex, found: Found | None) -> list[Action]:
        """What the cache has under the key that was asked for."""
        edge = self._edges[vertex.digest]
        if self._over:
            return []
        assert edge.state in (State.CACHE_FAST, State.CACHE_SLOW)
        if found is not None:
            edge.cached = True
            self._complete(edge, found.result, found.key)
        elif edge.state is State.CACHE_FAST and edge.keying is Keying.CONTENT:
            self._ask_sources(edge)
        else:
            self._block(edge)
        return self._go_on()

    def digested(self, vertex: Vertex, content: str) -> list[Action]:
        """The digest of what a copy takes of its sources, or of what a vertex' origin has now."""
        edge = self._edges[vertex.digest]
        if self._over:
            return []
        assert edge.state is State.DIGESTING
        below = [edge.inputs[0].key] if edge.keying is Keying.CONTENT else []
        edge.key = _key(b"content", vertex, [*below, content])
        edge.state = State.KEYED
        self._todo += [edge, *edge.dependents]
        return self._go_on()

    def executed(self, vertex: Vertex, result: object, key: str = "") -> list[Action]:
        """The operation has succeeded; `key` is the content's, where only the result tells it."""
        edge = self._edges[vertex.digest]
        if self._over:
            return []
        assert edge.state is State.EXECUTING
        self._complete(edge, result, key or edge.key)
        return self._go_on()

    def failed(self, vertex: Vertex) -> None:
        """An action of this vertex has failed: the build is over. What still runs is to be ended."""
        if not self._over:
            self._edges[vertex.digest].state = State.FAILED
        self.cancel()

    def cancel(self) -> None:
        """The build is over."""
        self._over = True
        for edge in self._edges.values():
            if edge.state not in _OVER:
                edge.state = State.CANCELLED

    # -- decisions

    def _go_on(self) -> list[Action]:
        while self._todo:
            self._advance(self._todo.pop())
        actions, self._actions = self._actions, []
        return actions

    def _want_keys(self, edges: list[_Edge]) -> None:
        """Those of all that a key is made of, too; what is below comes first, so that each finds its inputs' keys."""
        wanted = list(edges)
        for edge in wanted:
            if not edge.key_wanted:
                edge.key_wanted = True
                self._todo.append(edge)
                if edge.keying in _OF_INPUTS:
                    wanted += edge.inputs

    def _want_result(self, edge: _Edge) -> None:
        if not edge.result_wanted:
            edge.key_wanted = edge.result_wanted = True
            self._todo.append(edge)

    def _advance(self, edge: _Edge) -> None:
        if edge.state in _OVER or not edge.key_wanted:
            return
        if edge.state is State.INITIAL:
            self._find_key(edge)
        if edge.state is State.KEYED and edge.result_wanted:
            self._look_up(edge)
        elif edge.state is State.SOURCES:
            self._await_sources(edge)
        if edge.state is State.BLOCKED and all(e.state is State.COMPLETE for e in edge.inputs):
            edge.state = State.EXECUTING
            self._actions.append(Action(Kind.EXECUTE, edge.vertex, edge.key))

    def _await_sources(self, edge: _Edge) -> None:
        target, *sources = edge.inputs
        if any(below.missed for below in sources):  # it takes a while, and hardly ends in what the cache has
            self._want_result(target)
        if all(below.state is State.COMPLETE for below in sources):
            edge.state = State.DIGESTING
            self._actions.append(Action(Kind.DIGEST, edge.vertex))

    def _find_key(self, edge: _Edge) -> None:
        if edge.keying is Keying.LOCAL:
            self._complete(edge, None, "")
            return
        if edge.keying is Keying.RESULT:
            self._block(edge)
            return
        if edge.keying is Keying.IDENTITY:
            edge.state = State.DIGESTING
            self._actions.append(Action(Kind.DIGEST, edge.vertex))
            return
        inputs = edge.inputs
        self._want_keys(inputs)
        keys = [below.key for below in inputs]
        is_keyless = not all(keys)
        if is_keyless and not all(below.key or below.keying is Keying.LOCAL for below in inputs):
            if not edge.by_content or any(below.missed or not below.by_content for below in inputs):
                self._work_ahead(edge)
            return
        if edge.keying is Keying.DEFINITION:
            edge.key = _key(b"definition", edge.vertex, keys)
            edge.state = State.KEYED
            self._todo += edge.dependents
        elif is_keyless or not edge.by_definition:
            self._ask_sources(edge)
        else:
            edge.fast_key = _key(b"sources", edge.vertex, keys)
            edge.state = State.CACHE_FAST
            self._actions.append(Action(Kind.LOOK_UP, edge.vertex, edge.fast_key))

    def _work_ahead(self, edge: _Edge) -> None:
        """What it stands on is being made anew, so its sources will be needed: they need not wait for that."""
        if edge.missed:
            return
        edge.missed = True
        self._todo += edge.dependents
        for below in edge.inputs[1:]:
            self._want_result(below)

    def _look_up(self, edge: _Edge) -> None:
        if not edge.by_content:
            self._block(edge)
            return
        edge.state = State.CACHE_SLOW if edge.keying is Keying.CONTENT else State.CACHE_FAST
        self._actions.append(Action(Kind.LOOK_UP, edge.vertex, edge.key))

    def _ask_sources(self, edge: _Edge) -> None:
        edge.state = State.SOURCES
        sources = edge.inputs[1:]
        if not edge.by_content or any(below.keying is not Keying.LOCAL for below in sources):
            self._work_ahead(edge)
        for below in sources:  # what is there is soon digested, and the key that gives may end in what the cache has
            self._want_result(below)
        self._todo.append(edge)

    def _block(self, edge: _Edge) -> None:
        edge.state = State.BLOCKED
        edge.missed = True
        self._todo += edge.dependents
        for below in edge.inputs:
            self._want_result(below)
        self._todo.append(edge)

    def _complete(self, edge: _Edge, result: object, key: str) -> None:
        edge.state, edge.result, edge.key = State.COMPLETE, result, key
        self._todo += edge.dependents


def _key(kind: bytes, vertex: Vertex, parts: Iterable[str]) -> str:
    digest = hashlib.sha256(_VERSION + kind + vertex.definition)
    for part in parts:
        digest.update(b"\0" + part.encode())
    return digest.hexdigest()
