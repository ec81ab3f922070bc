"""How many steps run at once, and that a client who does not read holds up nobody else."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.build.test_builds_run_side_by_side import Build, Worker, never_full, run
from tests.unit.build.test_the_cache_is_pruned import Rows, cache, filesystem

from corten.build.classic_stream import ClassicStream, Room
from corten.build.executor import Executor, Stalls
from corten.build.filesystem import FileSystem
from corten.build.graph import Vertex
from corten.build.ops.worker import keying_of
from corten.build.plan import Plan, Stage, Step
from corten.build.slots import Slots
from corten.build.solver import Solver
from corten.build.turns import Turns
from corten.spec.oci_image import ImageConfig


async def drained() -> None:
    """All that can happen without waiting has happened."""
    for _ in range(50):
        await asyncio.sleep(0)


class Steps:
    """Steps of one build that hold their slots until they are told to end."""

    def __init__(self, slots: Slots) -> None:
        self.slots = slots
        self.running = 0
        self.end = asyncio.Event()

    async def go(self, count: int) -> None:
        async with self.slots.build() as share:

            async def step() -> None:
                async with share.hold():
                    self.running += 1
                    await self.end.wait()
                    self.running -= 1

            await asyncio.gather(*(step() for _ in range(count)))


async def test_one_build_has_all_slots_and_another_one_has_one_of_its_own_at_once():
    slots = Slots(steps=4, builds=9)
    first, second = Steps(slots), Steps(slots)
    tasks = [asyncio.ensure_future(first.go(8))]
    await drained()
    assert first.running == 4
    tasks.append(asyncio.ensure_future(second.go(3)))
    await drained()
    assert (first.running, second.running) == (4, 1)
    first.end.set()
    second.end.set()
    async with asyncio.timeout(20):
        await asyncio.gather(*tasks)
    assert (first.running, second.running) == (0, 0)


async def test_a_slot_that_is_free_goes_to_the_build_that_has_the_fewest():
    slots = Slots(steps=4, builds=9)
    order: list[str] = []

    async def step(name: str, share: object, gate: asyncio.Event) -> None:
        async with share.hold():  # type: ignore[attr-defined]
            order.append(name)
            await gate.wait()

    gates = [asyncio.Event() for _ in range(9)]
    async with slots.build() as one, slots.build() as other:
        tasks = [asyncio.ensure_future(step("one", one, gate)) for gate in gates[:6]]
        await drained()
        tasks += [asyncio.ensure_future(step("other", other, gate)) for gate in gates[6:]]
        await drained()
        assert order == ["one"] * 4 + ["other"]
        for gate in gates[:2]:
            gate.set()
            await drained()
        assert order[5:] == ["other"], "two of five ended: room for one, and who runs one waits before who runs two"
        for gate in gates:
            gate.set()
        await asyncio.gather(*tasks)
    assert sorted(order) == ["one"] * 6 + ["other"] * 3


async def test_builds_beyond_the_limit_wait_in_line():
    slots = Slots(steps=4, builds=2)
    builds = [Steps(slots) for _ in range(3)]
    tasks = [asyncio.ensure_future(one.go(1)) for one in builds]
    await drained()
    assert [one.running for one in builds] == [1, 1, 0]
    builds[0].end.set()
    await drained()
    assert [one.running for one in builds] == [0, 1, 1]
    for one in builds:
        one.end.set()
    await asyncio.gather(*tasks)


async def test_who_gives_up_waiting_takes_no_slot_with_him():
    slots = Slots(steps=1, builds=9)
    async with slots.build() as share:
        held = share.hold()
        slot = await held.__aenter__()
        waiting = asyncio.ensure_future(share.hold().__aenter__())
        await drained()
        waiting.cancel()
        slot.let_go()  # in the same turn of the loop: it is given to who was just cancelled
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await held.__aexit__(None, None, None)
        async with asyncio.timeout(20), share.hold():
            pass


async def test_a_turn_that_is_let_go_is_the_next_ones():
    turns, order = Turns(), []

    async def work(name: str, *, stands_still: bool) -> None:
        async with turns.hold("k") as turn:
            order.append(name)
            if stands_still:
                turn.let_go()
                await gate.wait()

    gate = asyncio.Event()
    first = asyncio.ensure_future(work("first", stands_still=True))
    async with asyncio.timeout(20):
        await asyncio.gather(work("second", stands_still=False), work("third", stands_still=False))
    gate.set()
    await first
    assert order == ["first", "second", "third"]


class Watching:
    """A client that reads nothing until it is told to."""

    def __init__(self) -> None:
        self.reads = asyncio.Event()

    def begun(self, vertex: Vertex) -> None: ...
    def running(self, vertex: Vertex, cid: str) -> None: ...
    def removed(self, vertex: Vertex, cid: str) -> None: ...
    async def changed(self) -> None: ...

    async def output(self, vertex: Vertex, stream: int, data: bytes) -> None:
        del vertex, stream, data
        await self.reads.wait()


class Stalling(Worker):
    """A worker whose steps say something before they end."""

    def __init__(self, stalls: Stalls | None) -> None:
        super().__init__()
        self.stalls = stalls

    async def execute(self, vertex: Vertex, inputs: list[FileSystem | None]) -> FileSystem:
        if self.stalls is not None and vertex.inputs:
            self.begun.append(vertex.name)
            await self.stalls.output(vertex, 1, b"much")
            self.ended.append(vertex.name)
            return filesystem(0, 5)
        return await super().execute(vertex, inputs)


async def test_another_build_does_the_step_itself_when_the_first_ones_client_does_not_read():
    executor = Executor(cache(Rows(), Rows()), at_once=1, patience_s=0)
    watching = Watching()
    stalls = Stalls(watching)
    slow = Build(executor, Stalling(stalls), run("a"))
    slow.stalls = stalls
    first = asyncio.ensure_future(slow.go())
    await drained()
    assert slow.worker.begun == ["RUN a"]
    second = Build(executor, Worker(), run("a"))
    async with asyncio.timeout(20):
        await second.go()
    assert second.worker.begun == ["a"]
    assert not first.done()
    watching.reads.set()
    async with asyncio.timeout(20):
        await first
    third = Build(executor, Worker(), run("a"))
    await third.go()
    assert third.worker.begun == []


async def test_who_reads_keeps_the_step_for_himself():
    executor = Executor(cache(Rows(), Rows()), at_once=4, patience_s=1000)
    watching = Watching()
    stalls = Stalls(watching)
    slow = Build(executor, Stalling(stalls), run("a"))
    slow.stalls = stalls
    first = asyncio.ensure_future(slow.go())
    await drained()
    second = Build(executor, Worker(), run("a"))
    waiting = asyncio.ensure_future(second.go())
    await drained()
    assert second.worker.begun == []
    watching.reads.set()
    async with asyncio.timeout(20):
        await asyncio.gather(first, waiting)
    assert second.worker.begun == []


async def test_builds_together_keep_no_more_output_than_there_is_room_for():
    a, b = run("a"), run("b")
    plan = Plan(
        stages=(
            Stage(
                index=0,
                name="stage-0",
                platform="",
                base=None,
                steps=tuple(
                    Step(text=v.name, lines=(1, 1), vertex=v, config=ImageConfig(), changes_files=True) for v in (a, b)
                ),
            ),
        )
    )
    room, told = Room(3000), []
    streams = [
        ClassicStream(plan, Solver([run("c", a, b)], keying_of), told.append, never_full, lambda *_: "", room=room)
        for _ in range(2)
    ]
    await streams[0].output(b, 1, b"x" * 2000)
    await streams[1].output(b, 1, b"y" * 2000)
    assert not room.take(1000), "the first has it"
    streams[1].close()
    streams[0].close()
    assert room.take(3000)
    assert not told, "it is the turn of neither"


def test_records_share_what_they_have_in_common_also_after_a_restart():
    records, aliases = Rows(), Rows()
    before = cache(records, aliases)
    for number in range(3):
        before.put(f"k{number}", filesystem(*range(number + 1)), own_layers=1, description="RUN x")
    after = cache(records, aliases)
    layers = [record.filesystem.layers[0] for record in after.records().values()]
    assert len(layers) == 3
    assert len({id(layer) for layer in layers}) == 1
    assert after.records() == before.records()
