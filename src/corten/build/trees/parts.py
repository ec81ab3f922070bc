"""Several trees as one: each in a directory of its own or at the top, with files beside it. Daemon; blocking."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from corten.build.trees.tree import Node, Tree


class PartTree(NamedTuple):
    """A tree, the directory that it is in (empty: the top), and files at its top, which hide its own of these names."""

    directory: str
    tree: Tree
    files: Mapping[str, bytes]


class PartsTree:
    """All of them; directories that are there for parts alone, and the files, have `mtime_ns`."""

    def __init__(self, parts: Sequence[PartTree], *, mtime_ns: int = 0) -> None:
        self._parts = {part.directory: part for part in parts}
        self._mtime_ns = mtime_ns

    def lstat(self, path: str) -> Node | None:
        """What is at a path."""
        part, inner = self._of(path)
        if part is None:
            return None if path else Node("directory", 0o755, 0, 0, 0, self._mtime_ns)
        data = part.files.get(inner)
        if data is not None:
            return Node("file", 0o644, 0, 0, len(data), self._mtime_ns)
        return part.tree.lstat(inner)

    def names(self, path: str) -> list[str]:
        """What a directory holds."""
        part, inner = self._of(path)
        if part is None:
            return [] if path else sorted(self._parts)
        names = part.tree.names(inner)
        return names if inner else sorted({*names, *part.files})

    def chunks(self, path: str) -> Iterator[bytes]:
        """A file's bytes."""
        part, inner = self._needed(path)
        data = part.files.get(inner)
        return iter((data,)) if data is not None else part.tree.chunks(inner)

    def xattrs(self, path: str) -> Mapping[bytes, bytes]:
        """Those of a part's own files."""
        part, inner = self._of(path)
        return {} if part is None or inner in part.files else part.tree.xattrs(inner)

    def digest(self, path: str) -> str:
        """SHA-256."""
        part, inner = self._needed(path)
        data = part.files.get(inner)
        return part.tree.digest(inner) if data is None else hashlib.sha256(data).hexdigest()

    def _of(self, path: str) -> tuple[PartTree | None, str]:
        """The part that a path is in, and the path in it."""
        top = self._parts.get("")
        if top is not None:
            return top, path
        directory, _, inner = path.partition("/")
        return (self._parts.get(directory), inner) if path else (None, "")

    def _needed(self, path: str) -> tuple[PartTree, str]:
        part, inner = self._of(path)
        if part is None:
            raise FileNotFoundError(path)
        return part, inner
