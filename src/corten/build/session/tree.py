"""Files that a client has sent as a tree: its list in memory, the bytes in packs. Daemon; blocking."""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence

from corten.build.session.listing import Entry
from corten.build.session.pack import Pack
from corten.build.trees.tree import Node

_EMPTY = hashlib.sha256().hexdigest()
_trees = itertools.count(1)


class ReceivedTree:
    """The tree of a checked list, whose packs are its own to close. `check` is called now and then, and may raise."""

    def __init__(
        self, entries: Sequence[Entry], packs: Mapping[str, Pack], *, check: Callable[[], None] = lambda: None
    ) -> None:
        self._packs = packs
        self._check = check
        self._device = -next(_trees)  # no file system's, so that links of two trees are never taken for one
        self._entries: dict[str, Entry] = {}
        self._names: dict[str, list[str]] = {"": []}
        self._linked: dict[str, int] = {}
        for entry in entries:
            if entry.kind:
                self._add(os.fsdecode(entry.path), entry)
        for names in self._names.values():
            names.sort()

    def _add(self, path: str, entry: Entry) -> None:
        head, _, name = path.rpartition("/")
        self._names[head].append(name)
        if entry.kind == "directory":
            self._names[path] = []
        elif entry.kind == "hardlink":
            first = os.fsdecode(entry.link)
            self._linked[path] = self._linked.setdefault(first, len(self._linked) + 1)
            entry = self._entries[first]
        self._entries[path] = entry

    def close(self) -> None:
        """Close the packs."""
        for pack in self._packs.values():
            pack.close()

    def lstat(self, path: str) -> Node | None:
        """The entry, as it was listed; a file that has shrunk meanwhile is as long as what came."""
        if not path:
            return Node("directory", 0o755, 0, 0, 0, 0)
        entry = self._entries.get(path)
        if entry is None:
            return None
        number = self._linked.get(path)
        return Node(
            entry.kind,
            entry.mode,
            entry.uid,
            entry.gid,
            entry.place.length if entry.place is not None else entry.size,
            entry.mtime_ns,
            os.fsdecode(entry.link) if entry.kind == "symlink" else "",
            entry.device,
            None if number is None else (self._device, number),
        )

    def names(self, path: str) -> list[str]:
        """What a directory holds."""
        self._check()
        return list(self._names[path])

    def chunks(self, path: str) -> Iterator[bytes]:
        """A file's bytes."""
        entry = self._file(path)
        if entry.place is not None:
            for data in self._packs[entry.place.pack].read(entry.place.offset, entry.place.length):
                self._check()
                yield data

    def xattrs(self, path: str) -> Mapping[bytes, bytes]:
        """Those that were kept."""
        return self._entries[path].xattrs if path else {}

    def digest(self, path: str) -> str:
        """SHA-256, as it was computed when the bytes came."""
        entry = self._file(path)
        return entry.place.digest if entry.place is not None else _EMPTY

    def _file(self, path: str) -> Entry:
        entry = self._entries.get(path)
        if entry is None or entry.kind != "file":
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return entry
