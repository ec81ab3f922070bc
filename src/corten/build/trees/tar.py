"""A tar file as a tree: its members are read where they lie, nothing is unpacked. Daemon; blocking.

Made for build contexts and archives that ADD unpacks, which nobody vouches for. No name can lead anywhere: members are
entries of a table. Of equal names the last counts, as when unpacking.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

from corten.build.trees.tree import Node
from corten.lib.tar import Entry, InvalidTar, TarReader

_CHUNK = 1 << 20
_MEMBER_LIMIT = 2_000_000
_PATH_LIMIT = 4096


@dataclass(slots=True)
class _Member:
    entry: Entry
    offset: int = 0
    names: dict[str, None] = field(default_factory=dict)
    digest: str = ""


class TarTree:
    """The tree of an uncompressed tar in a seekable file, which is its own to close.

    `check` is called now and then while the members are read, and may raise. Raises InvalidTar.
    """

    def __init__(self, file: BinaryIO, *, check: Callable[[], None] = lambda: None) -> None:
        self._file = file
        self._members: dict[str, _Member] = {"": _Member(Entry(b"", "directory", 0o755, 0, 0, 0, 0))}
        file.seek(0)
        reader = TarReader(file)
        for number, entry in enumerate(reader):
            if number >= _MEMBER_LIMIT:
                raise InvalidTar(f"the archive has more than {_MEMBER_LIMIT} members")
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
        member = _Member(entry, offset)
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
        head, _, name = path.rpartition("/")
        self._members[head].names[name] = None

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
            self._members[directory] = _Member(Entry(b"", "directory", 0o755, 0, 0, 0, 0))
            above, _, name = directory.rpartition("/")
            self._members[above].names[name] = None

    def _forget(self, path: str, member: _Member) -> None:
        todo = [(path, member)]
        while todo:
            at, gone = todo.pop()
            todo += [(f"{at}/{name}", self._members.pop(f"{at}/{name}")) for name in gone.names]

    def without(self, is_ignored: Callable[[str], bool]) -> None:
        """Take out what is ignored; a directory stays while something below it is not."""
        for path in sorted((path for path in self._members if path), key=lambda path: path.count("/"), reverse=True):
            member = self._members[path]
            if not member.names and is_ignored(path):
                del self._members[path]
                head, _, name = path.rpartition("/")
                del self._members[head].names[name]

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
        return sorted(self._members[path].names)

    def chunks(self, path: str) -> Iterator[bytes]:
        """A file's bytes, its holes as zeros."""
        member = self._members[path]
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
