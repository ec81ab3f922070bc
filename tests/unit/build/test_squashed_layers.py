"""Squash: from a base to what layers have made of it, in one layer; for random layers as overlayfs writes them."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st

from corten.build.squash import changes, note
from corten.build.trees.tree import Node
from corten.lib.tar import Entry

State = dict[str, str]  # path to "directory" or to what a file holds
NAMES = ("a", "b", "c")
PATHS = [
    *NAMES,
    *(f"{one}/{two}" for one in NAMES for two in NAMES),
    *(f"{one}/{two}/{three}" for one in NAMES for two in NAMES for three in NAMES),
]
operations = st.lists(
    st.tuples(st.sampled_from(["file", "directory", "remove"]), st.sampled_from(PATHS)), min_size=1, max_size=8
)


class StateTree:
    """A state as a tree."""

    def __init__(self, state: State) -> None:
        self._state = state

    def lstat(self, path: str) -> Node | None:
        what = self._state.get(path, "directory" if not path else "")
        return Node("directory" if what == "directory" else "file", 0o755, 0, 0, 0, 0) if what else None

    def names(self, path: str) -> list[str]:
        prefix = f"{path}/" if path else ""
        return sorted(p[len(prefix) :] for p in self._state if p.startswith(prefix) and "/" not in p[len(prefix) :])

    def chunks(self, path: str) -> Iterator[bytes]:
        raise OSError(errno.EIO, path)

    def xattrs(self, path: str) -> Mapping[bytes, bytes]:
        return {}

    def digest(self, path: str) -> str:
        return path


def without(state: State, path: str) -> None:
    for name in [name for name in state if name == path or name.startswith(f"{path}/")]:
        del state[name]


def make(state: State, path: str, what: str) -> None:
    """As `mkdir -p` and then a file or directory; what is in the way goes."""
    parents = path.split("/")[:-1]
    for number in range(len(parents)):
        parent = "/".join(parents[: number + 1])
        if state.get(parent) not in (None, "directory"):
            without(state, parent)
        state[parent] = "directory"
    if what != "directory" or state.get(path) != "directory":
        without(state, path)
    state[path] = what


def changed(state: State, steps: Sequence[tuple[str, str]], content: str) -> State:
    found = dict(state)
    for what, path in steps:
        if what == "remove":
            without(found, path)
        else:
            make(found, path, "directory" if what == "directory" else content)
    return found


def layer_of(before: State, after: State, *, opaque: bool) -> list[Entry]:
    """The entries of a layer; `opaque` empties directories by one mark, and not by a whiteout for each name."""
    found = []
    hidden: list[str] = []
    for path in sorted({*before, *after}, key=lambda path: path.split("/")):
        parent, slash, name = path.rpartition("/")
        if path in after and (before.get(path) != after[path] or any(path.startswith(f"{h}/") for h in hidden)):
            found.append(entry(path, after[path]))
        if path in after and after[path] == "directory" and before.get(path) == "directory" and opaque:
            kept = {p for p in before if p.startswith(f"{path}/")}
            if kept and not kept & set(after):
                found += [entry(path, "directory"), entry(f"{path}/.wh..wh..opq", "")]
                hidden.append(path)
        is_gone = path not in after and (not parent or after.get(parent) == "directory")
        if is_gone and not any(path.startswith(f"{h}/") for h in hidden):
            found.append(entry(f"{parent}{slash}.wh.{name}", ""))
    return found


def entry(path: str, what: str) -> Entry:
    kind = "directory" if what == "directory" else "file"
    return Entry(os.fsencode(path), kind, 0o644, 0, 0, 0, 0)


def applied(base: State, after: State, layer: Sequence[tuple[str, bool]]) -> State:
    """What a layer makes of a base: files come with their content from `after`."""
    found = dict(base)
    for path, is_there in layer:
        if not is_there:
            assert path in base
            without(found, path)
        elif after[path] == "directory" and found.get(path) == "directory":
            continue
        else:
            without(found, path)
            found[path] = after[path]
    return found


def squashed(base: State, layers: Sequence[Sequence[Entry]], after: State) -> list[tuple[str, bool]]:
    touched: set[str] = set()
    hollow: set[str] = set()
    for layer in layers:
        for one in layer:
            note(one, touched, hollow)
    return list(changes(StateTree(after), StateTree(base), touched, hollow))


@given(operations, st.lists(operations, min_size=1, max_size=4), st.booleans())
def test_one_layer_makes_what_all_have_made(
    first: list[tuple[str, str]], rest: list[list[tuple[str, str]]], opaque: bool
) -> None:
    base = changed({}, first, "base")
    state, layers = base, []
    for number, steps in enumerate(rest):
        after = changed(state, steps, f"layer {number}")
        layers.append(layer_of(state, after, opaque=opaque))
        state = after
    found = squashed(base, layers, state)
    assert applied(base, state, found) == state
    paths = [path for path, _is_there in found]
    assert len(set(paths)) == len(paths)
    for path, is_there in found:  # parents first, and nothing below what is deleted
        assert path.rpartition("/")[0] in ("", *paths[: paths.index(path)])
        assert is_there or not any(other.startswith(f"{path}/") for other in paths)


def test_what_comes_and_goes_leaves_no_trace() -> None:
    base = {"a": "directory", "a/b": "base"}
    layers = [[entry("a", "directory"), entry("a/new", "x")], [entry("a", "directory"), entry("a/.wh.new", "")]]
    assert squashed(base, layers, base) == [("a", True)]


def test_a_directory_that_was_emptied_hides_what_the_base_has_below() -> None:
    base = {"a": "directory", "a/b": "directory", "a/b/c": "base", "a/d": "base"}
    after = {"a": "directory", "a/b": "directory"}
    layers = [[entry(".wh.a", "")], [entry("a", "directory"), entry("a/b", "directory")]]
    assert squashed(base, layers, after) == [("a", True), ("a/b", True), ("a/b/c", False), ("a/d", False)]
