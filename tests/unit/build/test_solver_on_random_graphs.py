"""The solver on graphs, caches and orders of events that hypothesis draws: the promises of the scheduler."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from corten.build.graph import Vertex, in_order
from corten.build.operations import BaseImage, Context, Copy, Download, LinkedCopy, Merge, Run, Scratch, Source
from corten.build.ops.worker import keying_of
from corten.build.solver import Action, Found, Keying, Kind, Solver, State


@st.composite
def graphs(draw):
    """Vertices as a Dockerfile makes them: images and sources below, commands and copies above."""
    made = [Vertex(BaseImage(image_id="sha256:a")), Vertex(Context()), Vertex(Download(url="http://x/y"))]
    roots = [made[0]]
    for number in range(draw(st.integers(1, 12))):
        root = draw(st.sampled_from(roots))
        kind = draw(st.sampled_from(["run", "copy", "link"]))
        if kind == "run":
            vertex = Vertex(Run(args=(str(draw(st.integers(0, number))),)), (root,))
        else:
            below = draw(st.lists(st.sampled_from(made), min_size=1, max_size=2))
            sources = tuple(Source(input=at, path="x") for at in range(1, len(below) + 1))
            if kind == "copy":
                vertex = Vertex(Copy(sources=sources, destination=f"/{number}"), (root, *below))
            else:
                copy = Vertex(LinkedCopy(sources=sources, destination=f"/{number}"), (Vertex(Scratch()), *below))
                vertex = Vertex(Merge(), (root, copy))
        made.append(vertex)
        roots.append(vertex)
    return draw(st.lists(st.sampled_from(roots), min_size=1, max_size=3))


class World:
    """Carries actions out as a build would, and watches what the solver asks for."""

    def __init__(self, cache: dict[str, Found]) -> None:
        self.cache = cache
        self.executed: list[Vertex] = []
        self.digested: list[Vertex] = []

    def report(self, solver: Solver, action: Action) -> list[Action]:
        vertex = action.vertex
        if action.kind is Kind.LOOK_UP:
            return solver.looked_up(vertex, self.cache.get(action.key))
        if action.kind is Kind.DIGEST:
            assert vertex not in self.digested
            assert all(solver.state(below) is State.COMPLETE for below in vertex.inputs[1:])
            self.digested.append(vertex)
            return solver.digested(vertex, "content")
        assert vertex not in self.executed
        assert all(solver.state(below) is State.COMPLETE for below in vertex.inputs)
        self.executed.append(vertex)
        key = action.key or "by result"
        if action.key and vertex.inputs:
            self.cache[key] = Found(key, vertex.digest)
            if solver.fast_key(vertex):
                self.cache[solver.fast_key(vertex)] = Found(key, vertex.digest)
        return solver.executed(vertex, vertex.digest, "" if action.key else key)


def finish(solver: Solver, world: World, data: st.DataObject) -> None:
    todo = solver.begin()
    while todo:
        action = todo.pop(data.draw(st.integers(0, len(todo) - 1)))
        todo += world.report(solver, action)


@given(graphs(), st.data())
@settings(max_examples=150)
def test_every_needed_vertex_is_done_once_and_after_its_inputs(targets, data):
    world = World({})
    solver = Solver(targets, keying_of)
    finish(solver, world, data)
    assert solver.done
    needed = [vertex for vertex in in_order(targets) if keying_of(vertex) is not Keying.LOCAL]
    assert set(world.executed) == set(needed)
    assert all(solver.result(target) == target.digest for target in targets)
    assert set(in_order(targets)) <= solver.settled()


@given(graphs(), st.data())
@settings(max_examples=150)
def test_a_second_build_executes_nothing_but_sources(targets, data):
    cache: dict[str, Found] = {}
    finish(Solver(targets, keying_of), World(cache), data)
    again, solver = World(cache), Solver(targets, keying_of)
    finish(solver, again, data)
    assert solver.done
    assert [vertex for vertex in again.executed if vertex.inputs] == []


@given(graphs(), st.data())
@settings(max_examples=100)
def test_without_the_cache_everything_is_done_again(targets, data):
    cache: dict[str, Found] = {}
    finish(Solver(targets, keying_of), World(cache), data)
    again, solver = World(cache), Solver(targets, keying_of, use_cache=False)
    finish(solver, again, data)
    assert {v for v in in_order(targets) if keying_of(v) is not Keying.LOCAL} == set(again.executed)


@given(graphs(), st.integers(0, 40), st.booleans(), st.data())
@settings(max_examples=150)
def test_after_a_failure_or_a_cancellation_nothing_more_is_asked_for(targets, steps, fails, data):
    world, solver = World({}), Solver(targets, keying_of)
    todo = solver.begin()
    for _ in range(steps):
        if not todo:
            break
        todo += world.report(solver, todo.pop(data.draw(st.integers(0, len(todo) - 1))))
    if fails and todo:
        solver.failed(todo.pop().vertex)
    else:
        solver.cancel()
    assert solver.done
    for action in todo:  # what was under way ends somehow
        if action.kind is Kind.LOOK_UP:
            assert solver.looked_up(action.vertex, None) == []
        elif action.kind is Kind.DIGEST:
            assert solver.digested(action.vertex, "late") == []
        else:
            assert solver.executed(action.vertex, "late") == []
    over = (State.COMPLETE, State.FAILED, State.CANCELLED)
    assert all(solver.state(vertex) in over for vertex in in_order(targets))


def test_a_changed_source_with_the_same_content_changes_nothing_above():
    base = Vertex(BaseImage(image_id="sha256:a"))
    cache: dict[str, Found] = {}
    for flag in ("-O1", "-O2"):
        built = Vertex(Run(args=("make", flag)), (base,))
        copied = Vertex(Copy(sources=(Source(path="bin"),), destination="/bin"), (base, built))
        world, solver = World(cache), Solver([Vertex(Run(args=("test",)), (copied,))], keying_of)
        todo = solver.begin()
        while todo:
            todo += world.report(solver, todo.pop(0))
    assert world.executed == [base, built]


def test_a_deep_graph_is_no_deep_recursion():
    vertex = Vertex(BaseImage(image_id="sha256:a"))
    for number in range(3000):
        vertex = Vertex(Run(args=(str(number),)), (vertex,))
    world, solver = World({}), Solver([vertex], keying_of)
    todo = solver.begin()
    while todo:
        todo += world.report(solver, todo.pop(0))
    assert solver.result(vertex) == vertex.digest


def test_stages_that_are_copied_from_in_turn_are_built_at_once():
    base = Vertex(BaseImage(image_id="sha256:a"))
    stages = [Vertex(Run(args=(str(number),)), (base,)) for number in range(4)]
    top = base
    for number, stage in enumerate(stages):
        top = Vertex(Copy(sources=(Source(path="f"),), destination=f"/{number}"), (top, stage))
    for use_cache in (True, False):
        solver, executing, todo = Solver([top], keying_of, use_cache=use_cache), [], []
        todo = solver.begin()
        while todo:
            action = todo.pop(0)
            if action.kind is Kind.EXECUTE and action.vertex in stages:
                executing.append(action.vertex)
            elif action.kind is Kind.EXECUTE:
                todo += solver.executed(action.vertex, "done")
            else:
                todo += solver.looked_up(action.vertex, None)
        assert set(executing) == set(stages)


def test_a_stage_that_is_built_afresh_does_not_wait_for_what_it_is_copied_to():
    base, download = Vertex(BaseImage(image_id="sha256:a")), Vertex(Download(url="http://x/y"))
    stage = Vertex(Run(args=("make",)), (base,))
    below = Vertex(Copy(sources=(Source(path="y"),), destination="/"), (base, download))
    top = Vertex(Copy(sources=(Source(path="f"),), destination="/"), (below, stage))
    solver = Solver([top], keying_of, afresh={stage})
    begun = solver.begin()
    assert {(action.kind, action.vertex) for action in begun} >= {(Kind.DIGEST, download)}
    assert solver.state(stage) is State.BLOCKED
    looked = [action for action in begun if action.vertex == base]
    assert [action.kind for action in solver.looked_up(base, None)] == [Kind.EXECUTE]
    assert [action.vertex for action in solver.executed(base, "base")] == [stage]
    assert len(looked) == 1


@given(graphs())
def test_one_target_is_walked_as_several_are(graph):
    for vertex in graph:
        assert list(in_order([vertex])) == list(in_order([vertex, vertex]))
        assert vertex.below() is vertex.below()


def test_a_stage_and_what_it_is_copied_to_are_built_at_once():
    base = Vertex(BaseImage(image_id="sha256:a"))
    one, two = (Vertex(Run(args=(name,)), (base,)) for name in ("one", "two"))
    top = Vertex(Copy(sources=(Source(path="f"),), destination="/f"), (one, two))
    solver = Solver([top], keying_of)
    executing, todo = [], solver.begin()
    while todo:
        action = todo.pop(0)
        if action.kind is Kind.LOOK_UP:
            todo += solver.looked_up(action.vertex, None)
        elif action.vertex is base:
            todo += solver.executed(action.vertex, "done")
        else:
            executing.append(action.vertex)
    assert set(executing) == {one, two}


def linked(root: Vertex, *sources: Vertex) -> tuple[Vertex, Vertex]:
    """A copy with `--link`, and what it is put upon."""
    copy = Vertex(LinkedCopy(sources=(Source(path="f"),), destination="/f"), (Vertex(Scratch()), *sources))
    return copy, Vertex(Merge(), (root, copy))


def test_a_linked_copy_does_not_wait_for_what_it_goes_upon():
    base = Vertex(BaseImage(image_id="sha256:a"))
    below, stage = (Vertex(Run(args=(name,)), (base,)) for name in ("below", "stage"))
    copy, top = linked(below, stage)
    for use_cache in (True, False):
        solver = Solver([top], keying_of, use_cache=use_cache)
        running, todo = [], solver.begin()
        while todo:
            action = todo.pop(0)
            if action.kind is Kind.LOOK_UP:
                todo += solver.looked_up(action.vertex, None)
            elif action.kind is Kind.DIGEST:
                todo += solver.digested(action.vertex, "content")
            elif action.vertex is below:
                running.append(action.vertex)  # and does not end
            else:
                todo += solver.executed(action.vertex, "done")
        assert running == [below]
        assert solver.state(copy) is State.COMPLETE
        assert solver.state(top) is State.BLOCKED


def test_a_linked_copy_is_made_once_for_all_that_it_goes_upon():
    cache: dict[str, Found] = {}
    made = []
    for name in ("one", "two"):
        base = Vertex(BaseImage(image_id=f"sha256:{name}"))
        copy, top = linked(Vertex(Run(args=("true",)), (base,)), Vertex(Context()))
        world, solver = World(cache), Solver([top], keying_of)
        todo = solver.begin()
        while todo:
            todo += world.report(solver, todo.pop(0))
        made.append(copy in world.executed)
        assert top in world.executed
    assert made == [True, False]
