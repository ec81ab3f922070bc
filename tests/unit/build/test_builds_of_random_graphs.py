"""Whole builds of random graphs: each step once and after its inputs, whoever asks for it; a cancellation at any moment ends
what runs, lets it tidy up, and leaves nothing but finished steps, from which the next build goes on."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.build.test_solver_on_random_graphs import graphs
from tests.unit.build.test_the_cache_is_pruned import Rows, cache, filesystem

from corten.build.executor import Executor
from corten.build.filesystem import FileSystem
from corten.build.graph import Vertex, in_order
from corten.build.ops.worker import keying_of
from corten.build.solver import Keying, Solver, State
from corten.store.leases import Leases


class Worker:
    """Takes some turns of the loop for each step; `held` are those that have begun and not let go."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.held: Counter[str] = Counter()
        self.made: Counter[str] = Counter()

    async def digest(self, vertex: Vertex, inputs: list[FileSystem | None]) -> str:
        del inputs
        await self._work(vertex)
        return f"content of {vertex.digest}"

    async def execute(self, vertex: Vertex, inputs: list[FileSystem | None]) -> FileSystem:
        for below, result in zip(vertex.inputs, inputs, strict=True):
            assert (result is None) == (keying_of(below) is Keying.LOCAL)
        await self._work(vertex)
        self.made[vertex.digest] += 1
        layers = max([len(result.layers) for result in inputs[:1] if result is not None], default=0)
        return filesystem(*range(layers), int(vertex.digest[:12], 16))

    async def _work(self, vertex: Vertex) -> None:
        turns = self._random.randint(0, 6)
        self.held[vertex.digest] += 1
        try:
            for _ in range(turns):
                await asyncio.sleep(0)
        finally:
            try:
                await asyncio.sleep(0)  # as what removes containers and mounts
            finally:
                self.held[vertex.digest] -= 1


async def quiet() -> None:
    """Who is told of changes."""


def started(
    executor: Executor, worker: Worker, leases: Leases, targets: list[Vertex]
) -> tuple[Solver, asyncio.Task[None]]:
    solver = Solver(targets, keying_of)

    async def go() -> None:
        with leases.hold([]) as lease:
            await executor.run(solver, worker, lease, changed=quiet)

    return solver, asyncio.ensure_future(go())


def keyed(targets: list[Vertex]) -> set[str]:
    """The steps that the cache keeps."""
    return {vertex.digest for vertex in in_order(targets) if vertex.inputs}


@given(graphs(), st.integers(0, 1 << 32))
@settings(max_examples=60, deadline=None)
def test_each_step_is_made_once_for_all_builds_that_need_it(targets, seed):
    async def run() -> None:
        executor, worker, leases = Executor(cache(Rows(), Rows())), Worker(seed), Leases()
        builds = [started(executor, worker, leases, targets) for _ in range(3)]
        await asyncio.gather(*(task for _, task in builds))
        assert {digest: worker.made[digest] for digest in keyed(targets)} == dict.fromkeys(keyed(targets), 1)
        assert all(solver.result(target) is not None for solver, _ in builds for target in targets)
        assert not +worker.held

    asyncio.run(run())


@given(graphs(), st.integers(0, 60), st.integers(0, 1 << 32))
@settings(max_examples=120, deadline=None)
def test_a_cancellation_at_any_moment_leaves_finished_steps_alone(targets, moment, seed):
    async def run() -> None:
        executor, worker, leases = Executor(cache(Rows(), Rows())), Worker(seed), Leases()
        solver, task = started(executor, worker, leases, targets)
        other_solver, other = started(executor, worker, leases, targets[:1])
        for _ in range(moment):
            await asyncio.sleep(0)
        task.cancel()
        outcome = (await asyncio.gather(task, return_exceptions=True))[0]
        if moment and isinstance(outcome, asyncio.CancelledError):
            over = (State.COMPLETE, State.FAILED, State.CANCELLED)
            assert all(solver.state(vertex) in over for vertex in in_order(targets))
        await other  # is not touched by it
        assert other_solver.result(targets[0]) is not None
        assert not +worker.held
        assert asyncio.all_tasks() == {asyncio.current_task()}
        finished, worker.made = worker.made, Counter()
        again, task = started(executor, worker, leases, targets)
        await task
        assert all(again.result(target) is not None for target in targets)
        assert not any(finished[digest] for digest in worker.made if digest in keyed(targets))
        assert all(count == 1 for digest, count in worker.made.items() if digest in keyed(targets))

    asyncio.run(run())
