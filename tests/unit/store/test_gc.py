"""What nothing needs, and in which order it may go."""

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from corten.store.gc import Kind, Node, reachable, unreachable

_KINDS: tuple[Kind, ...] = ("image", "layer", "container", "lease", "blob")
_NODES = st.builds(Node, st.sampled_from(_KINDS), st.sampled_from("abcde"))
_EDGES = st.dictionaries(_NODES, st.sets(_NODES, max_size=4), max_size=20)


def layers(parents: dict[str, str], *roots: str) -> list[str]:
    def below(node: Node) -> Iterable[Node]:
        return [Node("layer", parents[node.key])] if parents.get(node.key) else []

    found = unreachable([Node("layer", key) for key in parents], [Node("layer", key) for key in roots], below)
    return [node.key for node in found]


def test_children_go_before_their_parents() -> None:
    parents = {"a": "", "b": "a", "c": "b", "x": "", "y": "x", "z": "x"}
    assert layers(parents, "y") == ["z", "c", "b", "a"]
    assert layers(parents, "c", "z") == ["y"]
    assert layers(parents, *parents) == []


def test_a_blob_and_a_layer_of_one_name_are_two_things() -> None:
    present = [Node("blob", "same"), Node("layer", "same")]
    assert unreachable(present, [Node("layer", "same")], lambda _node: ()) == [Node("blob", "same")]


def naively_needed(roots: set[Node], edges: dict[Node, set[Node]]) -> set[Node]:
    """By going over all edges until nothing is added."""
    needed = set(roots)
    while more := {target for node in needed for target in edges.get(node, ())} - needed:
        needed |= more
    return needed


@given(edges=_EDGES, roots=st.sets(_NODES, max_size=3), present=st.sets(_NODES))
def test_nothing_needed_goes_and_nothing_else_stays(
    edges: dict[Node, set[Node]], roots: set[Node], present: set[Node]
) -> None:
    downward = {node: {other for other in below if other < node} for node, below in edges.items()}  # no circles
    found = unreachable(present, roots, lambda node: downward.get(node, ()))
    assert set(found) == present - naively_needed(roots, downward)
    order = {node: number for number, node in enumerate(found)}
    assert all(order[node] < order[other] for node in found for other in downward.get(node, ()) if other in order)


@given(edges=_EDGES, roots=st.sets(_NODES, max_size=3))
def test_circles_end_and_keep_what_they_hold(edges: dict[Node, set[Node]], roots: set[Node]) -> None:
    assert reachable(roots, lambda node: edges.get(node, ())) == naively_needed(roots, edges)
    found = unreachable(list(edges), roots, lambda node: edges.get(node, ()))
    assert not set(found) & naively_needed(roots, edges)
