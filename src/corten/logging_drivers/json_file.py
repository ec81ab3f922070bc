"""Reading a json-file log that the shim writes and rotates meanwhile. Blocking; the daemon's threads.

`x.log` is written to; a rotation renames it to `x.log.1`, that to `x.log.2`, and so on, or empties it in place when
there is one file only. A reader holds the files it reads open, so that a rename takes nothing from it, and knows them
by inode; between files it goes on with the one that followed. Lines are taken only when they are complete.

A reader is used by one thread at a time, and may be closed by another while that one reads (its client left).
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator

from corten.logging_drivers.record import LogRecord, Selection, decode

_BLOCK = 256 * 1024
_MAX_LINE = 1 << 20  # a record holds at most 16 KiB of text, times six for its escapes
_MAX_FILES = 10_000
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class JsonFileReader:
    """A cursor in a container's log. `tail` is the number of last records to begin with, -1 for all."""

    def __init__(self, path: str, *, tail: int = -1, selection: Selection) -> None:
        self._path = path
        self._selection = selection
        self._lock = threading.Lock()
        self._fds = self._open_all()
        self._rest = b""
        self._done = False
        if tail >= 0:
            self._seek_tail(tail)

    def close(self) -> None:
        """Let go of the files; later reads give nothing."""
        with self._lock:
            self._done = True
            for fd in self._fds:
                os.close(fd)
            self._fds.clear()

    @property
    def finished(self) -> bool:
        """Whether records after `until` were reached: nothing more can come."""
        return self._done

    # -- files

    def _open_all(self) -> list[int]:
        """All files, oldest first. Opened newest first, so that a rotation meanwhile shows one twice and loses none."""
        fds: list[int] = []
        seen: set[tuple[int, int]] = set()
        for number in range(_MAX_FILES):
            fd = _open(f"{self._path}.{number}" if number else self._path)
            if fd < 0:
                if number:
                    break
                continue
            key = _inode(fd)
            if key in seen:
                os.close(fd)
                continue
            seen.add(key)
            fds.append(fd)
        return fds[::-1]

    def _successor(self) -> int:
        """The file after the last one that is open: found by where that is now. -1 when it still is the newest."""
        if not self._fds:
            return _open(self._path)
        current = _inode(self._fds[-1])
        previous = -1
        for number in range(_MAX_FILES):
            fd = _open(f"{self._path}.{number}" if number else self._path)
            if fd < 0:
                if number:
                    break
                continue
            if _inode(fd) == current:
                os.close(fd)
                return previous
            if previous >= 0:
                os.close(previous)
            previous = fd
        return previous  # rotated away altogether: go on with the oldest there is

    # -- reading

    def read(self) -> list[LogRecord]:
        """The next records, [] when there are none for now. Call `follow` after that."""
        with self._lock:
            return self._read()

    def _read(self) -> list[LogRecord]:
        while self._fds and not self._done:
            fd = self._fds[0]
            data = os.read(fd, _BLOCK)
            if data:
                records = self._records(data)
                if records:
                    return records
                continue
            if len(self._fds) == 1:
                return []
            self._next_file()
        return []

    def _next_file(self) -> None:
        os.close(self._fds.pop(0))
        self._rest = b""

    def follow(self) -> list[LogRecord]:
        """As `read`, but for a log that grows: takes notice of rotation and of truncation."""
        with self._lock:
            return self._follow()

    def _follow(self) -> list[LogRecord]:
        records = self._read()
        if records or self._done:
            return records
        if self._fds:
            status = os.fstat(self._fds[-1])
            if status.st_size < os.lseek(self._fds[-1], 0, os.SEEK_CUR):
                os.lseek(self._fds[-1], 0, os.SEEK_SET)
                self._rest = b""
                return self._read()
        successor = self._successor()
        if successor < 0:
            return []
        # What was written between our last read and the rename is still in the old file.
        self._fds.append(successor)
        return self._read()

    def _records(self, data: bytes) -> list[LogRecord]:
        lines = (self._rest + data if self._rest else data).split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > _MAX_LINE:
            self._rest = b""
        since, until = self._selection.since, self._selection.until
        chosen = []
        for line in lines:
            record = decode(line) if line else None
            if record is None or record.time < since:
                continue
            if until and record.time > until:
                self._done = True
                break
            chosen.append(record)
        return chosen

    # -- tail

    def _seek_tail(self, count: int) -> None:
        """Place the cursor before the last `count` lines; older files are closed."""
        for index in range(len(self._fds) - 1, -1, -1):
            fd = self._fds[index]
            start, found = _line_start(fd, count)
            count -= found
            os.lseek(fd, start, os.SEEK_SET)
            if count <= 0:
                for older in self._fds[:index]:
                    os.close(older)
                del self._fds[:index]
                return


def _line_start(fd: int, count: int) -> tuple[int, int]:
    """(offset of the line that is `count` from the end, or of the first; number of complete lines found)."""
    found = 0
    for end in _newlines_backwards(fd, os.fstat(fd).st_size):
        # A newline ends a line; the one we are looking for begins behind the newline before it.
        if found == count:
            return end + 1, found
        found += 1
    return 0, found


def _newlines_backwards(fd: int, size: int) -> Iterator[int]:
    stop = size
    while stop > 0:
        start = max(0, stop - _BLOCK)
        block = os.pread(fd, stop - start, start)
        at = block.rfind(b"\n")
        while at >= 0:
            yield start + at
            at = block.rfind(b"\n", 0, at)
        stop = start


def _open(path: str) -> int:
    try:
        fd = os.open(path, _FLAGS)
    except OSError:
        return -1
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        return -1
    return fd


def _inode(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino
