"""What is seen of a directory's entries at one time, without reading any. Daemon; blocking, by descriptor only."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import NamedTuple

KINDS = {
    stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink", stat.S_IFCHR: "char",
    stat.S_IFBLK: "block", stat.S_IFIFO: "fifo",
}  # fmt: skip


class Seen(NamedTuple):
    """One entry as stat(2) has it. All of it is compared: what differs in any field is another file, or another state
    of it."""

    name: str
    mode: int
    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int
    special: int

    @property
    def kind(self) -> str:
        """As in a Node; empty for a socket."""
        return KINDS.get(stat.S_IFMT(self.mode), "")


def seen(name: str, status: os.stat_result) -> Seen:
    """What stat gave of an entry."""
    return Seen(
        name,
        status.st_mode,
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_rdev,
    )


def listed(fd: int, check: Callable[[int], None]) -> list[Seen]:
    """A directory's entries by name, without sockets. What vanishes meanwhile was not there. `check` is told now and
    then how many there are. Raises OSError."""
    found: list[Seen] = []
    with os.scandir(fd) as entries:
        for number, entry in enumerate(entries):
            if number % 1024 == 0:
                check(number)
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            if not stat.S_ISSOCK(status.st_mode):
                found.append(seen(entry.name, status))
    found.sort()
    return found
