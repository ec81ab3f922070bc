"""A tar file as a tree: its members are read where they lie, nothing is unpacked. Daemon; blocking.

Made for build contexts and archives that ADD unpacks, which nobody vouches for. No name can lead anywhere: members are
entries of a table. Of equal names the last counts, as when unpacking.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO

from corten.build.trees.tree import Node
from corten.lib.tar import Entry, InvalidTar, TarReader

_CHUNK = 1 << 20
_PATH_LIMIT = 4096
_MEMORY_LIMIT = 1 << 30  # by these estimates: a million files
_MEMBER_BYTES, _ITEM_BYTES = 900, 120


@dataclass(slots=True)
class _Member:
    entry: Entry
    offset: int = 0
    names: dict[str, None] | None = None  # of a directory
    digest: str = ""


class TarTree:
    """The tree of an uncompressed tar in a seekable file, which is its own to close.

    `check` is called now and then while it is read, and may raise: a hole of a few bytes in the archive is as long as
    it says. Raises InvalidTar.
    """

    def __init__(self, file: BinaryIO, *, check: Callable[[], None] = lambda: None) -> None:
        self._file = file
        self._check = check
        self._members: dict[str, _Member] = {"": _directory()}
        self._memory = 0
        file.seek(0)
        reader = TarReader(file)
        for number, entry in enumerate(reader):
            if number % 1024 == 0:
                check()
            self._add(entry, reader.offset)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _add(self, entry: Entry, offset: int) -> None:
        path = clean_name(entry.name)
        if not path:
            if entry.kind == "directory":
                self._members[""].entry = entry
            return
        self._keep(entry, path)
        member = _Member(entry, offset, {} if entry.kind == "directory" else None)
        if entry.kind == "hardlink":
            target = self._members.get(clean_name(entry.link))
            if target is None or target.entry.kind == "directory":
                raise InvalidTar(f"{path}: its link target {os.fsdecode(entry.link)} is not in the archive")
            member = target
        self._make_parents(path)
        old = self._members.get(path)
        if old is not None and old.entry.kind == "directory":
            if entry.kind == "directory":
                old.entry = entry
                return
            self._forget(path, old)
        self._members[path] = member
        self._enter(path)

    def _make_parents(self, path: str) -> None:
        """Directories that the archive does not name have root's usual attributes."""
        head, slash, _ = path.rpartition("/")
        if not slash:
            return
        missing: list[str] = []
        while head not in self._members:
            missing.append(head)
            head = head.rpartition("/")[0]
        if self._members[head].entry.kind != "directory":
            raise InvalidTar(f"{path}: {head} is no directory")
        for directory in reversed(missing):
            self._members[directory] = _directory()
            self._keep(self._members[directory].entry, directory)
            self._enter(directory)

    def _enter(self, path: str) -> None:
        """A member is one of its directory's, which is there."""
        head, _, name = path.rpartition("/")
        names = self._members[head].names
        assert names is not None
        names[name] = None

    def _keep(self, entry: Entry, path: str) -> None:
        """Another member is kept in memory. Raises InvalidTar for what is too much for it."""
        items = [*entry.xattrs.items(), *(entry.pieces or ())]
        attributes = sum(len(name) + len(value) for name, value in entry.xattrs.items())
        text = 3 * len(path) + len(entry.link) + attributes
        self._memory += _MEMBER_BYTES + text + _ITEM_BYTES * len(items)
        if self._memory > _MEMORY_LIMIT:
            raise InvalidTar(f"the archive has too many members for {_MEMORY_LIMIT >> 20} MB of memory")

    def _forget(self, path: str, member: _Member) -> None:
        todo = [(path, member)]
        while todo:
            at, gone = todo.pop()
            todo += [(f"{at}/{name}", self._members.pop(f"{at}/{name}")) for name in gone.names or ()]

    def without(self, is_ignored: Callable[[str], bool]) -> None:
        """Take out what is ignored; a directory stays while something below it is not."""
        for path in sorted((path for path in self._members if path), key=lambda path: path.count("/"), reverse=True):
            member = self._members[path]
            if not member.names and is_ignored(path):
                del self._members[path]
                head, _, name = path.rpartition("/")
                names = self._members[head].names
                assert names is not None
                del names[name]

    # -- the tree

    def lstat(self, path: str) -> Node | None:
        """The member."""
        member = self._members.get(path)
        if member is None:
            return None
        entry = member.entry
        link = os.fsdecode(entry.link) if entry.kind == "symlink" else ""
        return Node(entry.kind, entry.mode, entry.uid, entry.gid, entry.size, entry.mtime_ns, link, entry.device)

    def names(self, path: str) -> list[str]:
        """The members below a directory."""
        self._check()
        return sorted(self._members[path].names or ())

    def chunks(self, path: str) -> Iterator[bytes]:
        """A file's bytes, its holes as zeros."""
        for chunk in self._chunks(self._members[path]):
            self._check()
            yield chunk

    def _chunks(self, member: _Member) -> Iterator[bytes]:
        entry = member.entry
        if entry.pieces is None:
            yield from self._stored(member.offset, entry.size)
            return
        done, stored = 0, member.offset
        for offset, length in entry.pieces:
            yield from _zeros(offset - done)
            yield from self._stored(stored, length)
            done, stored = offset + length, stored + length
        yield from _zeros(entry.size - done)

    def _stored(self, offset: int, size: int) -> Iterator[bytes]:
        fd = self._file.fileno()
        while size > 0:
            data = os.pread(fd, min(size, _CHUNK), offset)
            if not data:
                raise InvalidTar("unexpected EOF")
            yield data
            offset, size = offset + len(data), size - len(data)

    def xattrs(self, path: str) -> Mapping[bytes, bytes]:
        """As the archive says."""
        found = self._members[path].entry.xattrs
        return {name: v for name, v in found.items() if not name.startswith((b"trusted.overlay.", b"user.overlay."))}

    def digest(self, path: str) -> str:
        """SHA-256, computed once."""
        member = self._members[path]
        if not member.digest:
            digest = hashlib.sha256()
            for chunk in self.chunks(path):
                digest.update(chunk)
            member.digest = digest.hexdigest()
        return member.digest


def _directory() -> _Member:
    """A directory that the archive does not name."""
    return _Member(Entry(b"", "directory", 0o755, 0, 0, 0, 0), names={})


def clean_name(name: bytes) -> str:
    """A member's name as a path of the tree. Raises InvalidTar for one that leads up."""
    text = os.fsdecode(name)
    if ".." in text and ".." in text.split("/"):
        raise InvalidTar(f"the archive has a member outside of it: {text[:200]}")
    if len(text) > _PATH_LIMIT:
        raise InvalidTar(f"the archive has a name of {len(text)} characters (limit {_PATH_LIMIT})")
    return posixpath.normpath("/" + text).lstrip("/")


def _zeros(size: int) -> Iterator[bytes]:
    while size > 0:
        yield b"\0" * min(size, _CHUNK)
        size -= _CHUNK
