"""An output of files as one tree, for clients that take files one by one: a directory a platform, attestations beside.

Daemon; blocking, as trees are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence

from corten.build.exporters.result import Part
from corten.build.trees.tree import EmptyTree, Node, Tree

_DIRECTORY = 0o755
_FILE = 0o644


class JoinedTree:
    """Parts with their trees; no time is later than `newest_ns`, if that is given. A file of a part stands before one
    of its file system."""

    def __init__(self, parts: Sequence[tuple[Part, Tree]], newest_ns: int | None = None) -> None:
        self._parts = {part.directory: (dict(part.files), tree) for part, tree in parts}
        self._newest_ns = newest_ns

    def _at(self, path: str) -> tuple[dict[str, bytes], Tree, str]:
        """A part's files and tree, and the path there; nothing but an empty tree for the directory of all parts."""
        if "" in self._parts:
            return (*self._parts[""], path)
        directory, _, below = path.partition("/")
        if directory not in self._parts:
            return {}, EmptyTree(), path
        return (*self._parts[directory], below)

    def lstat(self, path: str) -> Node | None:
        """The inode."""
        files, tree, below = self._at(path)
        if below in files:
            return Node("file", _FILE, 0, 0, len(files[below]), self._newest_ns or 0)
        if not below and "" not in self._parts:
            return Node("directory", _DIRECTORY, 0, 0, 0, self._newest_ns or 0)
        node = tree.lstat(below)
        if node is None or self._newest_ns is None or node.mtime_ns <= self._newest_ns:
            return node
        return node._replace(mtime_ns=self._newest_ns)

    def names(self, path: str) -> list[str]:
        """What a directory holds."""
        if not path and "" not in self._parts:
            return sorted(self._parts)
        files, tree, below = self._at(path)
        return sorted({*tree.names(below), *(() if below else files)})

    def chunks(self, path: str) -> Iterator[bytes]:
        """A file's bytes. Raises OSError."""
        files, tree, below = self._at(path)
        if below in files:
            yield files[below]
        else:
            yield from tree.chunks(below)

    def xattrs(self, path: str) -> Mapping[bytes, bytes]:
        """A file system's."""
        files, tree, below = self._at(path)
        is_own = below in files or (not below and "" not in self._parts)
        return {} if is_own else tree.xattrs(below)

    def digest(self, path: str) -> str:
        """SHA-256. Raises OSError."""
        files, tree, below = self._at(path)
        return hashlib.sha256(files[below]).hexdigest() if below in files else tree.digest(below)
