"""A tree of files to be read, whatever holds it, and how paths and patterns are resolved in one. Daemon; blocking.

Paths have no slash at either end; the root is the empty path. A tree resolves nothing: `resolve` follows links here,
step by step, with the tree's root as the end of every way up, so that no link of a context or an image leads out of it.
Names are text with surrogate escapes.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple, Protocol, runtime_checkable

from corten.errors import InvalidArgument

_LINK_LIMIT = 40
_PATH_LIMIT = 4096  # of a path and of a link's target, as in the kernel
_SPECIAL = frozenset("*?[\\")


class Node(NamedTuple):
    """One entry. `kind` as in lib.tar.Entry; `identity` is the same for names of one inode, None for one name."""

    kind: str
    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    link: str = ""
    device: tuple[int, int] = (0, 0)
    identity: tuple[int, int] | None = None


class Tree(Protocol):
    """Files below a root. Paths given to it have no links but perhaps at their end."""

    def lstat(self, path: str) -> Node | None:
        """What is at a path; None when there is nothing."""

    def names(self, path: str) -> list[str]:
        """What a directory holds, sorted."""

    def chunks(self, path: str) -> Iterator[bytes]:
        """The bytes of a file, as many as its size says."""

    def xattrs(self, path: str) -> Mapping[bytes, bytes]:
        """Its extended attributes, without overlayfs' own."""

    def digest(self, path: str) -> str:
        """A digest of a file's bytes."""


@runtime_checkable
class Remembering(Protocol):
    """A tree that knows from earlier builds what is below its directories."""

    def recall(self, path: str) -> str | None:
        """What `remember` was called with for what is below a directory now; None when that is not sure."""

    def remember(self, path: str, digest: str) -> None:
        """Remember a digest (hex) of what is below a directory."""


class EmptyTree:
    """A tree of nothing."""

    def lstat(self, path: str) -> Node | None:
        """Only the root."""
        return None if path else Node("directory", 0o755, 0, 0, 0, 0)

    def names(self, path: str) -> list[str]:  # noqa: ARG002 - the form of a tree
        """None."""
        return []

    def chunks(self, path: str) -> Iterator[bytes]:
        """Nothing to read."""
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)

    def xattrs(self, path: str) -> Mapping[bytes, bytes]:  # noqa: ARG002 - the form of a tree
        """None."""
        return {}

    def digest(self, path: str) -> str:
        """Nothing to read."""
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)


class DirectoriesAlone:
    """A tree as `--link` sees what it copies to: its directories, and nothing that leads elsewhere or is in the way."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    def lstat(self, path: str) -> Node | None:
        """A directory, below directories."""
        node = self._tree.lstat(path)
        return node if node is not None and node.kind == "directory" else None

    def names(self, path: str) -> list[str]:
        """What a directory holds."""
        return self._tree.names(path)

    def chunks(self, path: str) -> Iterator[bytes]:
        """The bytes of a file."""
        return self._tree.chunks(path)

    def xattrs(self, path: str) -> Mapping[bytes, bytes]:
        """Those of a directory."""
        return self._tree.xattrs(path)

    def digest(self, path: str) -> str:
        """A digest of a file's bytes."""
        return self._tree.digest(path)


def join(directory: str, name: str) -> str:
    """A path below another one."""
    return f"{directory}/{name}" if directory and name else directory or name


def resolve(tree: Tree, path: str, *, last: bool = True) -> str:
    """`path` without links and dots, as far as it exists; `last` follows a link at its end, too. Raises OSError.

    It is bounded as the kernel's is, by links and lengths: a link of a context may be a megabyte of names.
    """
    _check_length(path, path)
    done: list[str] = []
    todo = path.split("/")[::-1]
    links = 0
    while todo:
        name = todo.pop()
        if name in ("", "."):
            continue
        if name == "..":
            del done[-1:]
            continue
        done.append(name)
        at = "/".join(done)
        _check_length(at, path)
        node = tree.lstat(at) if last or any(todo) else None
        if node is not None and node.kind == "symlink":
            links += 1
            if links > _LINK_LIMIT:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            _check_length(node.link, path)
            done = [] if node.link.startswith("/") else done[:-1]
            todo += node.link.split("/")[::-1]
    return "/".join(done)


def _check_length(text: str, path: str) -> None:
    if len(text) > _PATH_LIMIT:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), path[:200])


def walk(tree: Tree, path: str) -> Iterator[tuple[str, Node]]:
    """Everything below a directory, by its path below that; a directory before its content."""
    todo = [iter(tree.names(path))]
    ways = [""]
    while todo:
        name = next(todo[-1], None)
        if name is None:
            todo.pop()
            ways.pop()
            continue
        below = join(ways[-1], name)
        node = tree.lstat(join(path, below))
        if node is None:
            continue
        yield below, node
        if node.kind == "directory":
            todo.append(iter(tree.names(join(path, below))))
            ways.append(below)


def has_wildcards(pattern: str) -> bool:
    """Whether a path is a pattern."""
    return not _SPECIAL.isdisjoint(pattern)


def match(tree: Tree, pattern: str) -> list[str]:
    """The paths that a pattern matches, sorted; a path without wildcards matches itself where it exists.

    Raises InvalidArgument for a pattern that is none (Go's filepath.Match).
    """
    found = [""]
    for part in pattern.split("/"):
        if part in ("", "."):
            continue
        if has_wildcards(part):
            form = component_pattern(part)
            found = [join(at, name) for at in _apart(tree, found) for name in _names(tree, at) if form.fullmatch(name)]
        else:
            found = [join(at, part) for at in found]
    if not has_wildcards(pattern):
        return sorted(at for at in found if tree.lstat(resolve(tree, at, last=False)) is not None)
    return sorted(at for at in found if _is_there(tree, at))


def _is_there(tree: Tree, path: str) -> bool:
    """Whether a wildcard leads there. What a link to itself is on the way to is not: nobody has named it."""
    try:
        return tree.lstat(resolve(tree, path, last=False)) is not None
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        return False


def _apart(tree: Tree, paths: list[str]) -> Iterable[str]:
    """One path to each directory: links to it hold the same files, and links to `.` would multiply without end."""
    found: dict[str, str] = {}
    for path in reversed(paths):
        try:
            found[resolve(tree, path)] = path
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
    return found.values()


def _names(tree: Tree, path: str) -> list[str]:
    real = resolve(tree, path)
    node = tree.lstat(real)
    return tree.names(real) if node is not None and node.kind == "directory" else []


@lru_cache(maxsize=256)
def component_pattern(text: str) -> re.Pattern[str]:
    """One component of a Go pattern as a regular expression. Raises InvalidArgument.

    What stands behind a `*` is looked for once, from the left (`(?>...)`): tries of all places at all stars would take
    time without end, with the interpreter's lock held.
    """
    parts: list[str] = []
    pieces = [parts]  # between stars
    at = 0
    while at < len(text):
        char = text[at]
        at += 1
        if char == "*":
            parts = []
            pieces.append(parts)
        elif char == "?":
            parts.append("[^/]")
        elif char == "\\" and at < len(text):
            parts.append(re.escape(text[at]))
            at += 1
        elif char == "[":
            at, form = _character_class(text, at)
            parts.append(form)
        elif char == "\\":
            raise InvalidArgument(f"syntax error in pattern: {text[:200]}")
        else:
            parts.append(re.escape(char))
    first, *middle, last = ["".join(piece) for piece in pieces] if len(pieces) > 1 else ["".join(parts), ""]
    found = "".join(f"(?>[^/]*?{piece})" for piece in middle if piece)
    return re.compile(f"{first}{found}{'[^/]*' if len(pieces) > 1 else ''}{last}", re.DOTALL)


def _character_class(text: str, at: int) -> tuple[int, str]:
    """The class that begins behind a bracket: where it ends, and its regular expression."""
    wrong = InvalidArgument(f"syntax error in pattern: {text[:200]}")
    negated = text[at : at + 1] == "^"
    at += negated
    ranges: list[str] = []

    def character(at: int) -> tuple[int, str]:
        if at >= len(text) or text[at] in "-]":
            raise wrong
        if text[at] == "\\":
            at += 1
            if at >= len(text):
                raise wrong
        return at + 1, text[at]

    while text[at : at + 1] != "]" or not ranges:
        at, low = character(at)
        high = low
        if text[at : at + 1] == "-":
            at, high = character(at + 1)
        if low <= high:
            ranges.append(f"{re.escape(low)}-{re.escape(high)}")
        else:
            ranges.append("")
    body = "".join(ranges)
    if not body:
        return at + 1, "[^/]" if negated else r"(?!)"
    return at + 1, f"[^/{body}]" if negated else f"[{body}]"
