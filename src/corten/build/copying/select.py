"""What a copy takes of its sources: patterns to items, and items to the digest that its cache key holds. Blocking.

Sources: the Dockerfile reference (COPY, ADD). Modification times are no part of the digest, as in Docker's builders.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, overload

from corten.build.dockerfile.dockerignore import Matcher
from corten.build.operations import Copy, Source
from corten.build.trees.tree import Node, Remembering, Tree, has_wildcards, join, match, resolve, walk
from corten.errors import NotFound


class SourceNotFound(NotFound):
    """What is to be copied is not there; `path` is empty when it is a pattern that fits nothing."""

    code = "copy-source-not-found"

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(message)
        self.path = path.strip("/")


class Item(NamedTuple):  # many are made: a tuple is made in a third of a frozen dataclass' time
    """One entry to copy: where it is in its tree, and its path below the destination (empty: what becomes it)."""

    tree: Tree
    path: str
    name: str
    node: Node


@dataclass(frozen=True, slots=True)
class Taken:
    """What one source path gave: `directory` when it was one, whose content goes into the destination; else one file,
    called `name` when it goes into a directory. `keeps_owner`: files belong to whom they did; `unpack`: if it
    is an archive, what it holds is meant."""

    items: Sequence[Item]
    directory: bool
    name: str
    keeps_owner: bool
    unpack: bool = False


@dataclass(frozen=True, slots=True)
class Selection:
    """All that a copy takes. `several`: the destination has to be a directory."""

    taken: tuple[Taken, ...]
    several: bool


def select(copy: Copy, trees: Sequence[Tree], *, keeps_owner: Sequence[bool]) -> Selection:
    """What a copy takes of the trees of its inputs (that of number 0 is not looked at).

    Raises SourceNotFound, InvalidArgument (a bad pattern), OSError.
    """
    taken: list[Taken] = []
    for source in copy.sources:
        tree, keeps = trees[source.input], keeps_owner[source.input]
        if copy.parents:
            found = [_take_with_parents(tree, source, keeps_owner=keeps)]
        else:
            found = [take(tree, path, keeps_owner=keeps) for path in match(tree, source.path)]
        if not any(one.items for one in found):
            raise _missing(source)
        taken += [replace(one, unpack=source.unpack) for one in found]
    several = len(taken) > 1
    if copy.excludes:
        matcher = Matcher(copy.excludes)
        taken = [kept for one in taken if (kept := _without(one, matcher)).items]
    return Selection(tuple(taken), several=several)


def _missing(source: Source) -> SourceNotFound:
    if has_wildcards(source.path):
        return SourceNotFound("no source files were specified")
    return SourceNotFound(
        f"file not found in build context or excluded by .dockerignore: stat {source.path}: file does not exist",
        source.path,
    )


def take(tree: Tree, path: str, *, keeps_owner: bool) -> Taken:
    """What is at one path, links followed. Raises SourceNotFound, OSError."""
    real = resolve(tree, path)
    node = tree.lstat(real)
    if node is None:
        raise SourceNotFound(f"{path}: not found", path)
    if node.kind != "directory":
        return Taken(
            (Item(tree, real, "", node),), directory=False, name=posixpath.basename(path), keeps_owner=keeps_owner
        )
    return Taken(everything(tree, real, node), directory=True, name="", keeps_owner=keeps_owner)


def _take_with_parents(tree: Tree, source: Source, *, keeps_owner: bool) -> Taken:
    """`--parents`: all that matches, at its path below the pivot, which is the tree's root or what `/./` ends."""
    path = source.path.removeprefix("./").lstrip("/")
    start, pivot, pattern = path.partition("/./")
    start, pattern = (start, pattern) if pivot else ("", path)
    real = resolve(tree, start)
    matcher = Matcher([pattern])
    pivot_node = tree.lstat(real)
    is_directory = pivot_node is not None and pivot_node.kind == "directory"
    below = [Item(tree, join(real, name), name, node) for name, node in (walk(tree, real) if is_directory else ())]
    return Taken(_with_parents(below, matcher.ignores), directory=True, name="", keeps_owner=keeps_owner)


def _without(taken: Taken, matcher: Matcher) -> Taken:
    """What `--exclude` leaves: patterns are of paths below a copied directory, or of a copied file's name."""
    if not taken.directory:
        return replace(taken, items=() if matcher.ignores(taken.name) else taken.items)
    root = tuple(item for item in taken.items if not item.name)
    below = _with_parents(taken.items[len(root) :], lambda name: not matcher.ignores(name))
    return replace(taken, items=(*root, *below))


def _with_parents(items: Sequence[Item], is_wanted: Callable[[str], bool]) -> tuple[Item, ...]:
    """The wanted ones of a walk, and the directories that hold them."""
    names: set[str] = set()
    for item in items:
        if is_wanted(item.name):
            name = item.name
            while name and name not in names:
                names.add(name)
                name = posixpath.dirname(name)
    return tuple(item for item in items if item.name in names)


def everything(tree: Tree, path: str, node: Node) -> Everything:
    """A directory and all below it."""
    return Everything(tree, path, node)


class Everything(Sequence[Item]):
    """A directory and all below it, looked at when somebody asks: a tree may know the digest without."""

    def __init__(self, tree: Tree, path: str, node: Node) -> None:
        self.tree = tree
        self.path = path
        self._node = node
        self._items: list[Item] | None = None

    def _all(self) -> list[Item]:
        if self._items is None:
            self._items = [Item(self.tree, self.path, "", self._node)]
            self._items += [
                Item(self.tree, join(self.path, below), below, found) for below, found in walk(self.tree, self.path)
            ]
        return self._items

    def __bool__(self) -> bool:
        return True

    def __len__(self) -> int:
        return len(self._all())

    @overload
    def __getitem__(self, index: int) -> Item: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Item]: ...

    def __getitem__(self, index: int | slice) -> Item | Sequence[Item]:
        return self._all()[index]

    def __iter__(self) -> Iterator[Item]:
        return iter(self._all())


def digest(taken: Iterable[Taken]) -> str:
    """One digest of everything taken, in order."""
    total = hashlib.sha256()
    for one in taken:
        total.update(repr((one.directory, one.name, one.keeps_owner)).encode())
        total.update(_content(one))
    return total.hexdigest()


def _content(taken: Taken) -> bytes:
    """The digest of what one source path gave; a whole directory's may be remembered."""
    whole = taken.items
    if not isinstance(whole, Everything) or taken.keeps_owner or not isinstance(whole.tree, Remembering):
        return _digest_of(taken.items, keeps_owner=taken.keeps_owner)
    known = whole.tree.recall(whole.path)
    if known is not None:
        return bytes.fromhex(known)
    found = _digest_of(whole, keeps_owner=False)
    whole.tree.remember(whole.path, found.hex())
    return found


def _digest_of(items: Iterable[Item], *, keeps_owner: bool) -> bytes:
    """The digest of entries in order: names, kinds, modes, owners where they are kept, links, attributes, bytes."""
    total = hashlib.sha256()
    for item in items:
        node = item.node
        owner = (node.uid, node.gid) if keeps_owner else ()
        content = item.tree.digest(item.path) if node.kind == "file" else ""
        attributes = sorted(item.tree.xattrs(item.path).items()) if node.kind in ("file", "directory") else []
        about = (item.name, node.kind, node.mode, owner, node.size, node.link, node.device, attributes, content)
        total.update(repr(about).encode("utf-8", "surrogateescape"))
    return total.digest()
