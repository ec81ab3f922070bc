"""What an overlayfs upper directory says has changed. Blocking; no mount."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from corten.linux.tree import walk
from corten.store.snapshots.driver import Change
from corten.store.snapshots.lookup import is_whiteout, lookup


def changes_of(upper_fd: int, lowers: Sequence[Path]) -> list[Change]:
    """Docker's list: A (added), C (changed), D (deleted), parents before children. `lowers` are topmost first."""
    changes = []
    for found in walk(upper_fd):
        below = lookup(lowers, tuple(found.path.split(b"/")))
        if is_whiteout(found.status):
            kind = "D"
        elif below is None:
            kind = "A"
        else:
            kind = "C"
            if _same_directory(found.status, below) and not _has_content(found.directory, found.name):
                continue  # copied up and given back: nothing of it differs
        changes.append(Change(kind, b"/" + found.path))
    return changes


def _same_directory(upper: os.stat_result, lower: os.stat_result) -> bool:
    return (
        stat.S_ISDIR(upper.st_mode)
        and upper.st_mode == lower.st_mode
        and (upper.st_uid, upper.st_gid, upper.st_mtime_ns) == (lower.st_uid, lower.st_gid, lower.st_mtime_ns)
    )


def _has_content(directory: int, name: bytes) -> bool:
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        with os.scandir(fd) as entries:
            return next(entries, None) is not None
    finally:
        os.close(fd)
