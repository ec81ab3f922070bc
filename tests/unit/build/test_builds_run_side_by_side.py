"""The executor with operations of the tests' own: work at once, failures, cancellation, and two builds of one thing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest
from tests.unit.build.test_the_cache_is_pruned import Rows, cache, filesystem

from corten.build.classic_stream import ClassicStream, Late
from corten.build.executor import Executor, Stalls
from corten.build.filesystem import FileSystem
from corten.build.graph import Vertex
from corten.build.operations import BaseImage, Run
from corten.build.ops.worker import keying_of
from corten.build.plan import Plan, Stage, Step
from corten.build.solver import Solver, State
from corten.errors import Internal
from corten.spec.docker.progress import ProgressMessage
from corten.spec.oci_image import ImageConfig
from corten.store.leases import Leases

BASE = Vertex(BaseImage(image_id="sha256:a"))


def run(text: str, *below: Vertex) -> Vertex:
    return Vertex(Run(args=(text,)), below or (BASE,), name=f"RUN {text}")


class Worker:
    """Does what its table says for a command; all else gives a layer at once."""

    def __init__(self, **work: Callable[[], object]) -> None:
        self.work = work
        self.begun: list[str] = []
        self.ended: list[str] = []

    async def digest(self, vertex: Vertex, inputs: list[FileSystem | None]) -> str:
        del vertex, inputs
        return "content"

    async def execute(self, vertex: Vertex, inputs: list[FileSystem | None]) -> FileSystem:
        del inputs
        if not isinstance(vertex.operation, Run):
            return filesystem(0)
        name = vertex.operation.args[0]
        self.begun.append(name)
        try:
            result = self.work.get(name, lambda: None)()
            if asyncio.iscoroutine(result):
                await result
        finally:
            self.ended.append(name)
        return filesystem(0, 1 + len(name))


class Build:
    """One run of the executor."""

    def __init__(self, executor: Executor, worker: Worker, *targets: Vertex) -> None:
        self.solver = Solver(targets, keying_of)
        self.executor, self.worker = executor, worker
        self.changed: Callable[[], Awaitable[None]] = never_full
        self.stalls: Stalls | None = None

    async def go(self) -> None:
        with Leases().hold([]) as lease:
            await self.executor.run(self.solver, self.worker, lease, changed=self.changed, stalls=self.stalls)


def executor() -> Executor:
    return Executor(cache(Rows(), Rows()))


async def test_independent_steps_run_at_once():
    met = asyncio.Barrier(2)
    worker = Worker(a=met.wait, b=met.wait)
    async with asyncio.timeout(10):
        await Build(executor(), worker, run("c", run("a"), run("b"))).go()
    assert worker.begun[2:] == ["c"]


async def test_a_failure_ends_what_runs_and_waits_for_it():
    begun = asyncio.Event()

    async def forever() -> None:
        begun.set()
        await asyncio.Event().wait()

    async def fail() -> None:
        await begun.wait()
        raise Internal("no")

    worker = Worker(a=forever, b=fail)
    build = Build(executor(), worker, run("c", run("a"), run("b")))
    async with asyncio.timeout(10):
        with pytest.raises(Internal, match="no"):
            await build.go()
    assert sorted(worker.ended) == ["a", "b"]
    assert [build.solver.state(run(name)) for name in "ab"] == [State.CANCELLED, State.FAILED]


async def test_a_cancelled_build_waits_until_its_steps_have_let_go():
    begun, tidy = asyncio.Event(), []

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            tidy.append("a")

    task = asyncio.ensure_future(Build(executor(), Worker(a=work), run("a")).go())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert tidy == ["a"]


async def test_two_builds_that_need_one_thing_make_it_once():
    gate, begun = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        await gate.wait()

    both, worker = executor(), Worker(a=work)
    tasks = [asyncio.ensure_future(Build(both, worker, run("a")).go()) for _ in range(2)]
    await begun.wait()
    gate.set()
    await asyncio.gather(*tasks)
    assert worker.begun == ["a"]


async def test_the_second_does_it_when_the_first_fails():
    begun = asyncio.Event()
    attempts = []

    async def work() -> None:
        attempts.append(1)
        begun.set()
        if len(attempts) == 1:
            await asyncio.sleep(0)
            raise Internal("no")

    both, worker = executor(), Worker(a=work)
    tasks = [asyncio.ensure_future(Build(both, worker, run("a")).go()) for _ in range(2)]
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [Internal, type(None)]


async def never_full() -> None:
    """A reader that keeps up."""


def plan_of(*steps: tuple[str, Vertex]) -> Plan:
    made = tuple(
        Step(text=text, lines=(1, 1), vertex=vertex, config=ImageConfig(), changes_files=vertex is not BASE)
        for text, vertex in steps
    )
    return Plan(stages=(Stage(index=0, name="", platform="", base=None, steps=made),))


async def test_the_stream_is_in_the_files_order_whatever_ends_first():
    a, b = run("a"), run("b")
    top = run("c", a, b)
    told: list[ProgressMessage] = []
    b_ended = asyncio.Event()
    build = Build(executor(), Worker(a=b_ended.wait), top)
    plan = plan_of(("FROM x", BASE), ("RUN a", a), ("RUN b", b), ("RUN c", top))
    stream = ClassicStream(plan, build.solver, told.append, never_full, lambda _stage, step: f"sha256:{step.text}")

    async def say_b() -> None:
        await stream.output(b, 1, b"of b\n")
        b_ended.set()

    build.worker.work["b"] = say_b
    build.changed = stream.changed
    await build.go()
    assert "".join(message.stream for message in told) == (
        "Step 1/4 : FROM x\n ---> FROM x\nStep 2/4 : RUN a\n ---> RUN a\nStep 3/4 : RUN b\nof b\n ---> RUN b\n"
        "Step 4/4 : RUN c\n ---> RUN c\n"
    )


async def test_who_may_never_want_to_know_is_not_told_of_what_is_over_until_it_is_asked_for():
    a = run("a")
    plan = plan_of(("FROM x", BASE), ("RUN a", a))
    build = Build(executor(), Worker(), a)
    told: list[str] = []
    late: list[Late] = []

    def say(message: ProgressMessage) -> None:
        told.append(message.stream)

    def made(build: Build) -> ClassicStream:
        return ClassicStream(plan, build.solver, say, never_full, lambda *_: "sha256:id", say_later=late.append)

    build.changed = made(build).changed
    await build.go()
    assert "".join(told) == "Step 1/2 : FROM x\nStep 2/2 : RUN a\n"
    assert len(late) == 1
    told.clear()
    again = Build(build.executor, Worker(), a)
    stream = made(again)
    again.changed = stream.changed
    await again.go()
    assert told == []
    await stream.catch_up()
    assert "".join(told) == "Step 1/2 : FROM x\nStep 2/2 : RUN a\n ---> Using cache\n"


async def test_what_a_failed_step_has_said_is_told_although_it_was_not_its_turn():
    a, b = run("a"), run("b")
    told: list[ProgressMessage] = []
    build = Build(executor(), Worker(a=asyncio.Event().wait), run("c", a, b))
    plan = plan_of(("FROM x", BASE), ("RUN a", a), ("RUN b", b))
    stream = ClassicStream(plan, build.solver, told.append, never_full, lambda _stage, _step: "")

    async def fail() -> None:
        await stream.output(b, 1, b"why\n")
        raise Internal("no")

    build.worker.work["b"] = fail
    build.changed = stream.changed
    with pytest.raises(Internal):
        await build.go()
    assert "".join(message.stream for message in told) == "Step 1/3 : FROM x\nStep 2/3 : RUN a\nStep 3/3 : RUN b\nwhy\n"


async def test_what_waits_for_its_turn_is_bounded():
    a, b = run("a"), run("b")
    told: list[ProgressMessage] = []
    plan = plan_of(("FROM x", BASE), ("RUN a", a), ("RUN b", b))
    stream = ClassicStream(plan, Solver([run("c", a, b)], keying_of), told.append, never_full, lambda _stage, _step: "")
    for _ in range(200):
        await stream.output(b, 1, b"x" * 100_000)
    kept = sum(len(text) for told_of in stream._told.values() for text in told_of.waiting)
    assert kept < 3 << 20


async def test_what_all_steps_keep_for_their_turn_is_bounded():
    steps = [run(str(number)) for number in range(100)]
    told: list[ProgressMessage] = []
    plan = plan_of(("FROM x", BASE), ("RUN a", run("a")), *((f"RUN {step.name}", step) for step in steps))
    solver = Solver([run("c", run("a"), *steps)], keying_of)
    stream = ClassicStream(plan, solver, told.append, never_full, lambda _stage, _step: "")
    for step in steps:
        await stream.output(step, 1, b"x" * 1_000_000)
    for _ in range(40_000):
        await stream.output(steps[0], 1, b"ab")
    waiting = [told_of.waiting for told_of in stream._told.values()]
    assert sum(len(text) for texts in waiting for text in texts) < 20 << 20
    assert sum(map(len, waiting)) < 30_000


async def test_others_have_their_turn_between_steps_that_are_told():
    steps = [(f"ENV A{number}=1", BASE) for number in range(50)]
    build = Build(executor(), Worker(), BASE)
    told: list[ProgressMessage] = []

    def slow_id(_stage, _step) -> str:
        time.sleep(0.001)  # as one of a long history
        return ""

    stream = ClassicStream(plan_of(*steps), build.solver, told.append, never_full, slow_id)
    build.changed = stream.changed
    going, most = asyncio.ensure_future(build.go()), 0
    while not going.done():
        before = len(told)
        await asyncio.sleep(0)
        most = max(most, len(told) - before)
    assert len(told) == 100
    assert most < 10


async def test_what_is_told_at_once_waits_for_the_reader_and_keeps_characters_whole():
    a, told, room = run("a"), [], asyncio.Event()
    stream = ClassicStream(plan_of(("RUN a", a)), Solver([a], keying_of), told.append, room.wait, lambda *_: "")
    await stream.changed()
    text = "应用"
    sent = [asyncio.ensure_future(stream.output(a, 1, piece)) for piece in (text.encode()[:4], text.encode()[4:])]
    await asyncio.sleep(0)
    assert not any(task.done() for task in sent)
    room.set()
    await asyncio.gather(*sent)
    assert "".join(message.stream for message in told).endswith(text)


async def test_thousands_of_steps_before_one_that_fails_are_told_without_asking_for_each_again(monkeypatch):
    a = run("a", BASE)
    b = run("b", a)
    plan = plan_of(*((f"ENV A{number}=1", BASE) for number in range(3000)), ("RUN a", a), ("RUN b", b))
    solver, told, asked = Solver([b], keying_of), [], 0
    solver.begin()
    solver.failed(a)
    state = solver.state

    def counted(vertex: Vertex) -> State:
        nonlocal asked
        asked += 1
        return state(vertex)

    monkeypatch.setattr(solver, "state", counted)
    await ClassicStream(plan, solver, told.append, never_full, lambda *_: "").catch_up()
    heads = [message.stream for message in told if message.stream.startswith("Step")]
    assert heads[-1] == "Step 3001/3002 : RUN a"
    assert len(heads) == 3001
    assert asked < 10_000
