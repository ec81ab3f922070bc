"""Files that were fetched for builds, kept for the next ones below one directory, by key. Blocking; disk threads.

A file is linked under its name when all of it is there, so that a daemon that is killed leaves none behind that is not
whole. What was used least recently goes when there is more than `limit_bytes`; who has a file open keeps it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

_COUNT_LIMIT = 1000
_SHARE = 2  # of what the disk has free, one build may fetch so much at once


class FetchedFiles:
    """All of them; one a daemon. `limit_bytes` is how much they may be together."""

    def __init__(self, root: Path, limit_bytes: Callable[[], int]) -> None:
        self._root = root
        self._limit_bytes = limit_bytes

    def new(self) -> BinaryIO:
        """A file without a name (open(2), O_TMPFILE), which goes with its descriptor unless it is kept."""
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        fd = os.open(self._root, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        return os.fdopen(fd, "w+b")

    def room(self) -> int:
        """How many bytes one fetch may bring: a half of what is free."""
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        disk = os.statvfs(self._root)
        return disk.f_bavail * disk.f_frsize // _SHARE

    def open(self, key: str) -> BinaryIO | None:
        """The file kept under a key, from its beginning; None when there is none."""
        path = self._root / key
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        with suppress(OSError):
            os.utime(fd)
        return os.fdopen(fd, "rb")

    def keep(self, key: str, file: BinaryIO) -> None:
        """Keep a file that `new` made; another of that key stays. Raises OSError."""
        file.flush()
        os.fsync(file.fileno())
        directory = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with suppress(
                FileExistsError
            ):  # with a directory's descriptor: else Python calls link(2), which follows not
                os.link(f"/proc/self/fd/{file.fileno()}", key, dst_dir_fd=directory, follow_symlinks=True)
        finally:
            os.close(directory)
        self.trim(self._limit_bytes(), _COUNT_LIMIT)

    def trim(self, limit_bytes: int, count: int) -> int:
        """Delete what is too much; how many bytes that was."""
        found: list[tuple[int, int, str]] = []
        with suppress(FileNotFoundError), os.scandir(self._root) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    found.append((status.st_mtime_ns, status.st_blocks * 512, entry.path))
        total, left, freed = sum(size for _time, size, _path in found), len(found), 0
        for _time, size, path in sorted(found):
            if total <= limit_bytes and left <= count:
                break
            with suppress(FileNotFoundError):
                os.unlink(path)
            total, left, freed = total - size, left - 1, freed + size
        return freed
