"""What a copy takes of its sources: patterns to items, and items to the digest that its cache key holds. Blocking.

Sources: the Dockerfile reference (COPY, ADD). Modification times are no part of the digest, as in Docker's builders.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from corten.build.operations import Copy, Source
from corten.build.trees.tree import Node, Tree, has_wildcards, join, match, resolve, walk
from corten.errors import InvalidArgument, NotFound


class SourceNotFound(NotFound):
    """What is to be copied is not there."""

    code = "copy-source-not-found"


@dataclass(frozen=True, slots=True)
class Item:
    """One entry to copy: where it is in its tree, and its path below the destination (empty: what becomes it)."""

    tree: Tree
    path: str
    name: str
    node: Node


@dataclass(frozen=True, slots=True)
class Taken:
    """What one source path gave: `directory` when it was one, whose content goes into the destination; else one file,
    called `name` when it goes into a directory. `keeps_owner`: files belong to whom they did."""

    items: tuple[Item, ...]
    directory: bool
    name: str
    keeps_owner: bool


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
        tree = trees[source.input]
        found = match(tree, source.path)
        if not found:
            raise _missing(source)
        taken += [take(tree, path, keeps_owner=keeps_owner[source.input]) for path in found]
    return Selection(tuple(taken), several=len(taken) > 1)


def _missing(source: Source) -> SourceNotFound:
    if has_wildcards(source.path):
        return SourceNotFound("no source files were specified")
    return SourceNotFound(
        f"file not found in build context or excluded by .dockerignore: stat {source.path}: file does not exist"
    )


def take(tree: Tree, path: str, *, keeps_owner: bool) -> Taken:
    """What is at one path, links followed. Raises SourceNotFound, OSError."""
    real = resolve(tree, path)
    node = tree.lstat(real)
    if node is None:
        raise SourceNotFound(f"{path}: not found")
    if node.kind != "directory":
        return Taken(
            (Item(tree, real, "", node),), directory=False, name=posixpath.basename(path), keeps_owner=keeps_owner
        )
    return Taken(everything(tree, real, node), directory=True, name="", keeps_owner=keeps_owner)


def everything(tree: Tree, path: str, node: Node) -> tuple[Item, ...]:
    """A directory and all below it."""
    items = [Item(tree, path, "", node)]
    items += [Item(tree, join(path, below), below, found) for below, found in walk(tree, path)]
    return tuple(items)


def digest(taken: Iterable[Taken]) -> str:
    """One digest of everything taken, in order."""
    total = hashlib.sha256()
    for one in taken:
        total.update(repr((one.directory, one.name, one.keeps_owner)).encode())
        for item in one.items:
            node = item.node
            owner = (node.uid, node.gid) if one.keeps_owner else ()
            content = item.tree.digest(item.path) if node.kind == "file" else ""
            attributes = sorted(item.tree.xattrs(item.path).items()) if node.kind in ("file", "directory") else []
            about = (item.name, node.kind, node.mode, owner, node.size, node.link, node.device, attributes, content)
            total.update(repr(about).encode("utf-8", "surrogateescape"))
    return total.hexdigest()


def check_supported(copy: Copy) -> None:
    """Raises InvalidArgument for flags that are not done yet."""
    for flag, given in (("--parents", copy.parents), ("--exclude", bool(copy.excludes))):
        if given:
            raise InvalidArgument(f"COPY {flag} is not supported yet")
