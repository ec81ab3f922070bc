"""What nothing needs, and in which order it may go."""

from hypothesis import given
from hypothesis import strategies as st

from corten.store.gc import unreachable

_GRAPHS = st.dictionaries(st.integers(0, 15), st.integers(0, 15))


def test_children_go_before_their_parents() -> None:
    parents = {"a": "", "b": "a", "c": "b", "x": "", "y": "x", "z": "x"}
    assert unreachable(parents, ["y"], lambda key: [parents.get(key, "")]) == ["z", "c", "b", "a"]
    assert unreachable(parents, ["c", "z"], lambda key: [parents.get(key, "")]) == ["y"]
    assert unreachable(parents, parents) == []


def test_blobs_have_no_order() -> None:
    assert sorted(unreachable({"1", "2", "3"}, {"2", "missing"})) == ["1", "3"]


@given(upper=_GRAPHS, roots=st.sets(st.integers(0, 15)))
def test_nothing_needed_goes_and_nothing_else_stays(upper: dict[int, int], roots: set[int]) -> None:
    below = {key: parent for key, parent in upper.items() if parent < key}  # layers make no circles
    found = unreachable(below, roots, lambda key: [below[key]] if key in below else [])
    needed = set(roots)
    for key in sorted(below, reverse=True):
        if key in needed:
            needed.add(below[key])
    assert set(found) == set(below) - needed
    assert all(found.index(key) < found.index(below[key]) for key in found if below[key] in found)
