"""What an overlayfs upper directory says has changed. Blocking; no mount.

By the rules of Docker's comparison of two trees: a file is the same while type, mode, owner, device, size and time are;
a directory while type, mode and owner are, and it is named when something inside it differs.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from corten.linux.tree import walk
from corten.store.snapshots.driver import Change
from corten.store.snapshots.lookup import is_opaque, is_whiteout, lookup, merged_names

_PATH_LIMIT = 4096  # nobody can name what lies deeper
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def changes_of(upper_fd: int, lowers: Sequence[Path]) -> list[Change]:
    """Docker's list: A (added), C (changed), D (deleted), parents before children. `lowers` are topmost first."""
    kinds: dict[bytes, str] = {}  # "" is a directory that is named only if something inside it is
    for found in walk(upper_fd, enters=lambda path, _crossing: len(path) < _PATH_LIMIT):
        new = kinds.get(found.path.rpartition(b"/")[0]) == "A"
        below = None if new else lookup(lowers, tuple(found.path.split(b"/")))
        if is_whiteout(found.status):
            if below is not None:
                kinds[found.path] = "D"
        elif below is None:
            kinds[found.path] = "A"
        else:
            kinds[found.path] = "C" if _differs(found.status, below) else ""
            if stat.S_ISDIR(found.status.st_mode) and stat.S_ISDIR(below.st_mode):
                for name in _hidden(found.directory, found.name, found.path, lowers):
                    kinds[found.path + b"/" + name] = "D"
    inside = set[bytes]()
    for path, kind in kinds.items():
        parent = path
        while kind and (parent := parent.rpartition(b"/")[0]) and parent not in inside:
            inside.add(parent)
    return [
        Change(kind or "C", b"/" + path)
        for path, kind in sorted(kinds.items(), key=lambda item: item[0].split(b"/"))
        if kind or path in inside
    ]


def _differs(upper: os.stat_result, lower: os.stat_result) -> bool:
    if (upper.st_mode, upper.st_uid, upper.st_gid, upper.st_rdev) != (
        lower.st_mode,
        lower.st_uid,
        lower.st_gid,
        lower.st_rdev,
    ):
        return True
    return not stat.S_ISDIR(upper.st_mode) and (upper.st_mtime_ns, upper.st_size) != (lower.st_mtime_ns, lower.st_size)


def _hidden(directory: int, name: bytes, path: bytes, lowers: Sequence[Path]) -> set[bytes]:
    """The names of the layers below that an opaque directory hides and does not have itself."""
    fd = os.open(name, _DIRECTORY, dir_fd=directory)
    try:
        if not is_opaque(fd):
            return set()
        return merged_names(lowers, tuple(path.split(b"/"))) - {os.fsencode(entry) for entry in os.listdir(fd)}
    finally:
        os.close(fd)
