"""Carries out what the solver decides: look-ups, digests and operations as bounded tasks. Daemon's loop.

An error or a cancellation ends all tasks and waits until they have let go: what an operation made it removes itself.
Two builds that come to the same work at once do it once: the second one waits for the first one's record, unless that
one's client has stopped reading what the step says.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from typing import Protocol

from corten.build.cache import BuildCache
from corten.build.face import Watcher
from corten.build.filesystem import FileSystem
from corten.build.graph import Vertex
from corten.build.slots import Share, Slot, Slots
from corten.build.solver import Action, Found, Kind, Solver
from corten.build.turns import Turn, Turns
from corten.engine.images.settled import settled
from corten.lib.loop_time import Slices
from corten.store.leases import Lease

_AT_ONCE = max(4, 2 * (os.cpu_count() or 1))
_BUILDS = 32
_PATIENCE_S = 5.0  # how long a step's output may wait for its reader before others need not wait for the step


class Worker(Protocol):
    """What the operations of one build can do (`ops/`); inputs are the results of a vertex' inputs, in order."""

    async def digest(self, vertex: Vertex, inputs: list[FileSystem | None]) -> str:
        """What a copy takes of its sources, as one digest. Raises CortenError, OSError."""

    async def execute(self, vertex: Vertex, inputs: list[FileSystem | None]) -> FileSystem:
        """Do it. Raises CortenError, OSError."""


class Lookup(Protocol):
    """Further records, behind the cache's own (`caching.imports`)."""

    def find(self, key: str, lease: Lease) -> Found | None:
        """The result under a key, leased from here on."""


class Executor:
    """Runs builds; one a daemon. All builds together run `at_once` steps, beyond one for each build."""

    def __init__(self, cache: BuildCache, *, at_once: int = _AT_ONCE, patience_s: float = _PATIENCE_S) -> None:
        self._cache = cache
        self._turns = Turns()
        self._slots = Slots(steps=at_once, builds=_BUILDS)
        self._patience_s = patience_s

    async def run(
        self,
        solver: Solver,
        worker: Worker,
        lease: Lease,
        *,
        changed: Callable[[], Awaitable[None]],
        imports: Lookup | None = None,
        stalls: Stalls | None = None,
    ) -> None:
        """Solve to the end; `changed` is called whenever something has happened. Raises what a step raises.

        `lease` keeps what is found and made from being deleted. `stalls` is told of steps that begin, and of output
        that waits.
        """
        async with self._slots.build() as share:
            build = _Build(self._cache, self._turns, share, solver, worker, lease, imports=imports)
            if stalls is not None:
                build.begun = stalls.begun
                stalls.attach(build.let_go, self._patience_s)
            await _run(build, solver, changed)


async def _run(build: _Build, solver: Solver, changed: Callable[[], Awaitable[None]]) -> None:
    tasks: dict[asyncio.Task[object], Action] = {}
    try:
        await build.start(solver.begin(), tasks)
        await changed()
        while tasks:
            ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                action = tasks.pop(task)
                if task.exception() is not None:
                    solver.failed(action.vertex)
                await build.start(build.report(action, task.result()), tasks)
            await changed()
    except BaseException:
        solver.cancel()
        for task in tasks:
            task.cancel()
        await settled(tasks)
        await changed()
        raise


class Stalls:
    """Output that waits for a client who does not read: after a while its step holds up nobody but itself.

    Wraps a build's watcher for its steps; attached to the run when that begins.
    """

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._let_go: Callable[[Vertex], None] = lambda _vertex: None
        self._patience_s = _PATIENCE_S
        self.begun, self.running, self.removed = watcher.begun, watcher.running, watcher.removed
        self.changed = watcher.changed

    def attach(self, let_go: Callable[[Vertex], None], patience_s: float) -> None:
        """Call `let_go` for a step whose output waits so long."""
        self._let_go, self._patience_s = let_go, patience_s

    async def output(self, vertex: Vertex, stream: int, data: bytes) -> None:
        """A step has written this to a stream; returns when there is room for more."""
        timer = asyncio.get_running_loop().call_later(self._patience_s, self._let_go, vertex)
        try:
            await self._watcher.output(vertex, stream, data)
        finally:
            timer.cancel()


class _Build:
    """One run: what an action does, and what is reported of it."""

    def __init__(
        self,
        cache: BuildCache,
        turns: Turns,
        share: Share,
        solver: Solver,
        worker: Worker,
        lease: Lease,
        *,
        imports: Lookup | None,
    ) -> None:
        self._cache = cache
        self._turns = turns
        self._share = share
        self._solver = solver
        self._worker = worker
        self._lease = lease
        self._imports = imports
        self._slices = Slices()
        self._held: dict[Vertex, tuple[Turn | None, Slot]] = {}
        self.begun: Callable[[Vertex], None] = lambda _vertex: None

    def let_go(self, vertex: Vertex) -> None:
        """The step stands still: whoever wants the same may do it, and its room is free."""
        turn, slot = self._held.get(vertex, (None, None))
        if turn is not None:
            turn.let_go()
        if slot is not None:
            slot.let_go()

    async def start(self, actions: Iterable[Action], tasks: dict[asyncio.Task[object], Action]) -> None:
        """Look up at once, and make tasks of the rest; others have their turn now and then."""
        todo = deque(actions)
        while todo:
            action = todo.popleft()
            if action.kind is Kind.LOOK_UP:
                todo += self._look_up(action)
                await self._slices.give_way()
            else:
                tasks[asyncio.ensure_future(self._act(action))] = action

    def _look_up(self, action: Action) -> list[Action]:
        try:
            found = self._find(action.key)
        except BaseException:
            self._solver.failed(action.vertex)
            raise
        if found is not None and self._cache.peek(found.key) is not None:
            self._cache.alias(self._solver.fast_key(action.vertex), found.key)
        return self._solver.looked_up(action.vertex, found)

    async def _act(self, action: Action) -> object:
        if action.kind is Kind.DIGEST:
            async with self._share.hold():
                return await self._worker.digest(action.vertex, self._inputs(action.vertex))
        return await self._execute(action)

    def report(self, action: Action, result: object) -> list[Action]:
        vertex = action.vertex
        if action.kind is Kind.DIGEST:
            assert isinstance(result, str)
            return self._solver.digested(vertex, result)
        assert isinstance(result, FileSystem)
        return self._solver.executed(vertex, result, "" if action.key else result.chain_id or "empty")

    def _find(self, key: str) -> Found | None:
        found = self._cache.find(key, self._lease)
        return found if found is not None or self._imports is None else self._imports.find(key, self._lease)

    def _inputs(self, vertex: Vertex) -> list[FileSystem | None]:
        results = [self._solver.result(below) for below in vertex.inputs]
        return [result if isinstance(result, FileSystem) else None for result in results]

    async def _execute(self, action: Action) -> FileSystem:
        vertex, inputs = action.vertex, self._inputs(action.vertex)
        stored = bool(action.key) and (bool(inputs) or vertex.operation.is_fetched)
        async with AsyncExitStack() as held:
            turn = None
            if stored:
                turn = await held.enter_async_context(self._turns.hold(action.key))
                found = self._cache.find(action.key, self._lease) if self._solver.may_be_known(vertex) else None
                if found is not None:  # another build was quicker
                    assert isinstance(found.result, FileSystem)
                    return found.result
            slot = await held.enter_async_context(self._share.hold())
            self._held[vertex] = (turn, slot)
            held.callback(self._held.pop, vertex)
            self.begun(vertex)
            result = await self._worker.execute(vertex, inputs)
            self._lease.add(*result.keys())
            if stored:
                below = len(inputs[0].layers) if inputs and inputs[0] else 0
                own, result = len(result.layers) - below, result.stamped(below, action.key)
                alias = self._solver.fast_key(vertex)
                self._cache.put(action.key, result, own_layers=own, description=vertex.name, alias=alias)
        return result
