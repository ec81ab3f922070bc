"""Carries out what the solver decides: look-ups, digests and operations as bounded tasks. Daemon's loop.

An error or a cancellation ends all tasks and waits until they have let go: what an operation made it removes itself.
Two builds that come to the same work at once do it once: the second one waits for the first one's record.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from typing import Protocol

from corten.build.cache import BuildCache
from corten.build.filesystem import FileSystem
from corten.build.graph import Vertex
from corten.build.solver import Action, Found, Kind, Solver
from corten.engine.images.settled import settled
from corten.lib.keylock import KeyLock
from corten.store.leases import Lease

_AT_ONCE = max(4, 2 * (os.cpu_count() or 1))


class Worker(Protocol):
    """What the operations of one build can do (`ops/`); inputs are the results of a vertex' inputs, in order."""

    async def digest(self, vertex: Vertex, inputs: list[FileSystem | None]) -> str:
        """What a copy takes of its sources, as one digest. Raises CortenError, OSError."""

    async def execute(self, vertex: Vertex, inputs: list[FileSystem | None]) -> FileSystem:
        """Do it. Raises CortenError, OSError."""


class Executor:
    """Runs builds; one a daemon."""

    def __init__(self, cache: BuildCache) -> None:
        self._cache = cache
        self._locks = KeyLock()

    async def run(
        self,
        solver: Solver,
        worker: Worker,
        lease: Lease,
        *,
        use_cache: bool = True,
        changed: Callable[[], Awaitable[None]],
    ) -> None:
        """Solve to the end; `changed` is called whenever something has happened. Raises what a step raises.

        `lease` keeps what is found and made from being deleted.
        """
        build = _Build(self._cache, self._locks, solver, worker, lease, use_cache=use_cache)
        tasks: dict[asyncio.Task[object], Action] = {}

        def start(actions: Iterable[Action]) -> None:
            for action in actions:
                tasks[asyncio.ensure_future(build.act(action))] = action

        try:
            start(solver.begin())
            while tasks:
                ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in ended:
                    action = tasks.pop(task)
                    if task.exception() is not None:
                        solver.failed(action.vertex)
                    start(build.report(action, task.result()))
                await changed()
        except BaseException:
            solver.cancel()
            for task in tasks:
                task.cancel()
            await settled(tasks)
            await changed()
            raise


class _Build:
    """One run: what an action does, and what is reported of it."""

    def __init__(
        self,
        cache: BuildCache,
        locks: KeyLock,
        solver: Solver,
        worker: Worker,
        lease: Lease,
        *,
        use_cache: bool,
    ) -> None:
        self._cache = cache
        self._locks = locks
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._solver = solver
        self._worker = worker
        self._lease = lease
        self._use_cache = use_cache

    async def act(self, action: Action) -> object:
        if action.kind is Kind.LOOK_UP:
            return self._cache.find(action.key, self._lease)
        if action.kind is Kind.DIGEST:
            async with self._slots:
                return await self._worker.digest(action.vertex, self._inputs(action.vertex))
        return await self._execute(action)

    def report(self, action: Action, result: object) -> list[Action]:
        vertex = action.vertex
        if action.kind is Kind.LOOK_UP:
            assert result is None or isinstance(result, Found)
            if result is not None:
                self._cache.alias(self._solver.fast_key(vertex), result.key)
            return self._solver.looked_up(vertex, result)
        if action.kind is Kind.DIGEST:
            assert isinstance(result, str)
            return self._solver.digested(vertex, result)
        assert isinstance(result, FileSystem)
        return self._solver.executed(vertex, result, "" if action.key else result.chain_id or "empty")

    def _inputs(self, vertex: Vertex) -> list[FileSystem | None]:
        results = [self._solver.result(below) for below in vertex.inputs]
        return [result if isinstance(result, FileSystem) else None for result in results]

    async def _execute(self, action: Action) -> FileSystem:
        vertex, inputs = action.vertex, self._inputs(action.vertex)
        stored = bool(action.key) and (bool(inputs) or vertex.operation.is_fetched)
        async with AsyncExitStack() as held:
            if stored:
                await held.enter_async_context(self._locks.hold(action.key))
                found = self._cache.find(action.key, self._lease) if self._use_cache else None
                if found is not None:  # another build was quicker
                    assert isinstance(found.result, FileSystem)
                    return found.result
            await held.enter_async_context(self._slots)
            result = await self._worker.execute(vertex, inputs)
            self._lease.add(*result.keys())
            if stored:
                below = len(inputs[0].layers) if inputs and inputs[0] else 0
                own, result = len(result.layers) - below, result.stamped(below, action.key)
                alias = self._solver.fast_key(vertex)
                self._cache.put(action.key, result, own_layers=own, description=vertex.name, alias=alias)
        return result
