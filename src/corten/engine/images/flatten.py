"""What an image's files come to: its layers' tars laid upon each other, as metadata and digests. Pure; disk threads.

Nothing is written and nothing mounted, so it is the same with every snapshot driver. Source: OCI image-spec layer.md:
whiteouts and opaque directories take away what lower layers have, never what the same layer brings.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Callable
from dataclasses import dataclass

from corten.errors import InvalidArgument
from corten.lib.tar import Entry, Readable, TarReader

_WHITEOUT = b".wh."
_OPAQUE = b".wh..wh..opq"
_ENTRIES_LIMIT = 500_000


@dataclass(slots=True)
class File:
    """One path; `digest` is of a regular file's content (of its data in a sparse one)."""

    kind: str
    mode: int
    owner: tuple[int, int]
    size: int
    mtime_ns: int
    link: bytes
    device: tuple[int, int]
    xattrs: dict[bytes, bytes]
    digest: bytes = b""


Tree = dict[bytes, File]


def lay(tree: Tree, source: Readable, check: Callable[[], None]) -> None:
    """Lay a layer's uncompressed tar upon `tree`. `check` is called for each member and may raise.

    Raises InvalidTar, InvalidArgument for more files than can be compared.
    """
    added: Tree = {}
    gone: list[bytes] = []
    hollow: list[bytes] = []
    reader = TarReader(source)
    for entry in reader:
        check()
        path = clean(entry.name)
        head, slash, name = path.rpartition(b"/")
        if name == _OPAQUE:
            hollow.append(head)
        elif name.startswith(_WHITEOUT):
            gone.append(head + slash + name[len(_WHITEOUT) :])
        else:
            added[path] = _file(entry, reader, added, tree)
            if len(added) + len(tree) > _ENTRIES_LIMIT:
                raise InvalidArgument(f"the image has more than {_ENTRIES_LIMIT} files: too many to compare")
    hollow += [path for path, file in added.items() if file.kind != "directory" and path in tree]
    _take_away(tree, gone, hollow)
    tree.update(added)


def clean(name: bytes) -> bytes:
    """The path as it is below the root, without `..`, dots and slashes at its ends; empty for the root itself."""
    return posixpath.normpath(b"/" + name.lstrip(b"/"))[1:]


def _file(entry: Entry, reader: TarReader, added: Tree, tree: Tree) -> File:
    if entry.kind == "hardlink":
        target = clean(entry.link)
        known = added.get(target) or tree.get(target)
        if known is not None:
            return known
    digest = b""
    if entry.kind == "file":
        hashed = hashlib.sha256(repr(entry.pieces).encode() if entry.pieces is not None else b"")
        for piece in reader.data():
            hashed.update(piece)
        digest = hashed.digest()
    size = entry.size if entry.kind == "file" else 0
    link = entry.link if entry.kind in ("symlink", "hardlink") else b""
    owner = (entry.uid, entry.gid)
    return File(entry.kind, entry.mode, owner, size, entry.mtime_ns, link, entry.device, entry.xattrs, digest)


def _take_away(tree: Tree, gone: list[bytes], hollow: list[bytes]) -> None:
    """Drop these paths with all below them, and all that is below the hollow ones."""
    names = set(gone)
    above = names | set(hollow)
    if not above:
        return
    for path in list(tree):
        if path in names or _is_below(path, above):
            del tree[path]


def _is_below(path: bytes, above: set[bytes]) -> bool:
    if b"" in above and path:
        return True
    end = path.rfind(b"/")
    while end > 0:
        if path[:end] in above:
            return True
        end = path.rfind(b"/", 0, end)
    return False
