"""Commits, trees and tags as git stores them, and which names may stand in a tree. Pure over `Objects`; disk threads.

Nothing is checked out: a tree's names are only ever names in a tar. Yet what has them may be copied into images, where
others' git looks at it, so what git itself refuses is refused here: `..`, `.git` in any case (CVE-2014-9390), slashes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from corten.build.git.error import GitError
from corten.build.git.pack import Objects, Stored
from corten.build.git.remote import ID_BYTES

DIRECTORY, LINK, SUBMODULE = 0o040000, 0o120000, 0o160000
_FILES = (0o100644, 0o100664, 0o100755)
_META_LIMIT = 64 << 20  # bytes of a tree; a million names
_COMMIT_LIMIT = 1 << 20
_TAG_DEPTH = 10
_NAME_LIMIT = 255


class Item(NamedTuple):
    """One name in a tree; `mode` is git's."""

    name: bytes
    mode: int
    object_id: bytes


class Commit(NamedTuple):
    """A commit, and the tags that led to it, outermost first."""

    object_id: bytes
    tree: bytes
    time_s: int
    tags: tuple[bytes, ...] = ()


def whole(objects: Objects, object_id: bytes, kind: bytes, limit: int) -> bytes:
    """An object of a kind that is read into memory. Raises GitError when it is missing, another, or too large."""
    stored = found(objects, object_id, kind)
    if stored.size > limit:
        raise GitError(f"the {kind.decode()} {object_id.hex()} has {stored.size} bytes, more than the limit of {limit}")
    return b"".join(objects.chunks(stored))


def found(objects: Objects, object_id: bytes, kind: bytes) -> Stored:
    """An object of a kind. Raises GitError."""
    stored = objects.by_id.get(object_id)
    if stored is None or stored.kind != kind:
        raise GitError(f"the server did not send the {kind.decode()} {object_id.hex()}")
    return stored


def commit_of(objects: Objects, object_id: bytes) -> Commit:
    """The commit that an id means, by way of tags. Raises GitError."""
    tags: list[bytes] = []
    while (stored := objects.by_id.get(object_id)) is not None and stored.kind == b"tag":
        if len(tags) >= _TAG_DEPTH:
            raise GitError("too many tags name each other")
        tags.append(object_id)
        object_id = _field(whole(objects, object_id, b"tag", _COMMIT_LIMIT), b"object ", objects)
    text = whole(objects, object_id, b"commit", _COMMIT_LIMIT)
    head = text.partition(b"\n\n")[0].split(b"\n")
    committer = next((row for row in head if row.startswith(b"committer ")), b"")
    words = committer.rpartition(b">")[2].split()
    seconds = int(words[0]) if words and words[0].isdigit() and len(words[0]) < 12 else 0
    return Commit(object_id, _field(text, b"tree ", objects), seconds, tuple(tags))


def _field(text: bytes, name: bytes, objects: Objects) -> bytes:
    row = text.partition(b"\n")[0]
    try:
        value = bytes.fromhex(row.removeprefix(name).decode("ascii"))
    except ValueError:
        value = b""
    if not row.startswith(name) or len(value) != ID_BYTES[objects.hash_name]:
        raise GitError("the repository has a damaged commit or tag")
    return value


def items_of(objects: Objects, object_id: bytes) -> Iterator[Item]:
    """What a tree holds. Raises GitError for names that no tree may have."""
    data = whole(objects, object_id, b"tree", _META_LIMIT)
    size = ID_BYTES[objects.hash_name]
    seen: set[bytes] = set()
    at = 0
    while at < len(data):
        blank, end = data.find(b" ", at, at + 8), data.find(b"\0", at)
        mode = data[at:blank]
        if blank < 0 or end < blank or end + size >= len(data) + 1 or not mode or mode.strip(b"01234567"):
            raise GitError(f"the tree {object_id.hex()} is damaged")
        name = data[blank + 1 : end]
        item = Item(name, int(mode, 8), data[end + 1 : end + 1 + size])
        _check(item, seen)
        seen.add(name)
        yield item
        at = end + 1 + size


def _check(item: Item, seen: set[bytes]) -> None:
    name = item.name
    if name in (b"", b".", b"..") or b"/" in name or name.lower() == b".git" or len(name) > _NAME_LIMIT:
        raise GitError(f"the repository has a file of the forbidden name {name[:64]!r}")
    if name in seen:
        raise GitError(f"the repository has two files of the name {name[:64]!r}")
    if item.mode not in (DIRECTORY, LINK, SUBMODULE, *_FILES):
        raise GitError(f"the repository has a file of the unknown mode {item.mode:o}")
