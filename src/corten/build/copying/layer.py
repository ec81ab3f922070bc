"""The layer that a copy makes: entries with their parents upon a file system that is only looked at. Daemon; blocking.

The layer's tar is written straight from the sources: no file is made on the host and no process runs. Directories that
exist below are written with the attributes that they have, as overlayfs would have copied them up. Destinations are
resolved in the target's tree, links included, so that they end in it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from corten.build.copying.mode import ModeChange
from corten.build.copying.select import Item, Selection, Taken
from corten.build.trees.tree import EmptyTree, Node, Tree, join, resolve
from corten.errors import Conflict, InvalidArgument
from corten.lib.tar import Entry

_WHITEOUT = ".wh."


class EntryWriter(Protocol):
    """What a layer's entries are written to: a tar (lib.tar_writer), or an image (store.erofs.shown)."""

    def add(self, entry: Entry, data: Iterable[bytes] = ()) -> None:
        """One entry, with a file's bytes."""


class _Planned(NamedTuple):
    """One entry of the layer, and where its bytes and extended attributes come from; `own`: it is the step's, and
    not a directory of the target that only holds what is."""

    node: Node
    tree: Tree
    path: str = ""
    own: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """What the instruction says of new files: owner and mode, None as in the source; the time of new directories."""

    owner: tuple[int, int] | None = None
    mode: ModeChange | None = None
    now_ns: int = 0


class LayerPlan:
    """Entries by path; those of a parent come first."""

    def __init__(self, target: Tree, attributes: Attributes) -> None:
        self._target = target
        self._attributes = attributes
        self._entries: dict[str, _Planned] = {}
        self._new: set[str] = set()  # directories that the target has not: nothing in them need be looked for

    @property
    def is_empty(self) -> bool:
        """Whether the target would stay as it is."""
        return not any(planned.own for planned in self._entries.values())

    def place(self, selection: Selection, destination: str) -> None:
        """Put what was selected where the instruction says. Raises InvalidArgument, Conflict, OSError."""
        if selection.several and not destination.endswith("/"):
            raise InvalidArgument(
                "When using COPY with more than one source file, the destination must be a directory and end with a /"
            )
        at = resolve(self._target, destination)
        existing = self._lookup(at)
        into = destination.endswith("/") or (existing is not None and existing.kind == "directory")
        for taken in selection.taken:
            if taken.directory:
                self._directory(taken, at)
            else:
                where = resolve(self._target, join(at, taken.name)) if into else at
                self._put(taken.items[0], where, keeps_owner=taken.keeps_owner)

    def _directory(self, taken: Taken, at: str) -> None:
        for item in taken.items:
            if item.name:
                self._put(item, join(at, item.name), keeps_owner=taken.keeps_owner)
            else:
                self.make_directory(at)  # as any that is missing: the source's attributes are those of what it holds
                self._set_time(at, item.node.mtime_ns)

    def make_directory(self, path: str) -> None:
        """A directory with its parents, where they are missing. Raises Conflict when something else is there."""
        planned = self._entries.get(path)
        if not path or (planned is not None and planned.node.kind == "directory"):
            return
        uid, gid = self._attributes.owner or (0, 0)
        at = ""
        for name in path.split("/"):
            at = join(at, name)
            node = self._lookup(at)
            if node is None:
                _check_name(name, at)
                node = Node("directory", 0o755, uid, gid, 0, self._attributes.now_ns)
                self._entries[at] = _Planned(node, EmptyTree(), own=True)
                self._new.add(at)
            elif node.kind != "directory":
                raise Conflict(f"cannot copy to non-directory: /{at}")
            elif at not in self._entries:
                self._entries[at] = _Planned(node, self._target, at)

    def _set_time(self, path: str, mtime_ns: int) -> None:
        """A directory of the plan has the time of what went there last, as BuildKit's; the root keeps its own."""
        if path and mtime_ns:  # an archive may say nothing of its top
            planned = self._entries[path]
            self._entries[path] = planned._replace(node=planned.node._replace(mtime_ns=mtime_ns))

    def _put(self, item: Item, where: str, *, keeps_owner: bool) -> None:
        head, _, name = where.rpartition("/")
        _check_name(name, where)
        self.make_directory(head)
        old = self._lookup(where)
        is_directory = item.node.kind == "directory"
        if old is not None and (old.kind == "directory") != is_directory:
            kinds = "non-directory" if is_directory else "directory"
            raise Conflict(f"cannot copy to {kinds}: /{where}")
        if not where:  # the root
            return
        if old is None and is_directory:
            self._new.add(where)
        node = item.node
        owner = self._attributes.owner or ((node.uid, node.gid) if keeps_owner else (0, 0))
        change = None if node.kind == "symlink" else self._attributes.mode
        mode = change.apply(node.mode, is_directory=is_directory) if change else node.mode
        kind, _mode, _uid, _gid, size, mtime_ns, link, device, identity = node
        planned = Node(kind, mode, owner[0], owner[1], size, mtime_ns, link, device, identity)
        self._entries[where] = _Planned(planned, item.tree, item.path, own=True)

    def _lookup(self, path: str) -> Node | None:
        planned = self._entries.get(path)
        if planned is not None:
            return planned.node
        return None if path.rpartition("/")[0] in self._new else self._target.lstat(path)

    def write(self, writer: EntryWriter, *, apart: bool = False) -> None:
        """The layer's entries. `apart`: for any file system, whose root directory stays as it is. (`./` is what the
        stream begins with then: a name from elsewhere may look like compressed data.)"""
        root = None if apart else self._target.lstat("")
        prefix = b"./" if apart else b""
        if root is not None:
            writer.add(Entry(b"./", "directory", root.mode, root.uid, root.gid, 0, root.mtime_ns))
        links: dict[tuple[int, int, int, int, int], bytes] = {}
        for path, planned in self._entries.items():
            node = planned.node
            name = prefix + os.fsencode(path)
            entry = Entry(name, node.kind, node.mode, node.uid, node.gid, 0, node.mtime_ns)
            if node.identity is not None:
                first = links.setdefault((*node.identity, node.uid, node.gid, node.mode), name)
                if first != name:
                    entry.kind, entry.link = "hardlink", first
                    writer.add(entry)
                    continue
            if node.kind == "symlink":
                entry.link = os.fsencode(node.link)
            entry.device = node.device
            if node.kind in ("file", "directory"):
                entry.xattrs = dict(self._xattrs(planned))
            if node.kind == "directory":
                entry.name += b"/"
                writer.add(entry)
            elif node.kind == "file":
                entry.size = node.size
                writer.add(entry, planned.tree.chunks(planned.path))
            else:
                writer.add(entry)

    @staticmethod
    def _xattrs(planned: _Planned) -> Mapping[bytes, bytes]:
        return planned.tree.xattrs(planned.path)


def _check_name(name: str, path: str) -> None:
    if name.startswith(_WHITEOUT):
        raise InvalidArgument(f"cannot copy to /{path}: names that begin with {_WHITEOUT} mean deleted files")
