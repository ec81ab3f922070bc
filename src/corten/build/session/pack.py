"""Many files' bytes in one file of the host, which has no name until it is kept. Daemon; blocking.

A pack is written once and never changed. Who reads holds a descriptor, so that it may be deleted at any time.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

from corten.errors import DataLoss
from corten.lib.disk_full import saying

_CHUNK = 1 << 20
_VECTOR = 512  # pieces in one call (writev(2), IOV_MAX is 1024)


class Pack:
    """One pack: a new one below `directory`, or a kept one."""

    def __init__(self, fd: int, name: str, size: int) -> None:
        self._fd = fd
        self.name = name
        self.size = size

    @classmethod
    def new(cls, directory: Path) -> Self:
        """An empty one, which is gone with its descriptor (open(2), O_TMPFILE)."""
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        fd = os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        return cls(fd, f"pack-{secrets.token_hex(8)}", 0)

    @classmethod
    def open(cls, directory: Path, name: str) -> Self:
        """A kept one. Raises OSError."""
        fd = os.open(directory / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        return cls(fd, name, os.fstat(fd).st_size)

    def close(self) -> None:
        """Let it go; again is fine."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        self.close()

    def allocate(self, size: int) -> int:
        """Room for a file of `size` bytes: where it begins."""
        offset = self.size
        self.size += size
        return offset

    def write(self, pieces: Sequence[tuple[int, bytes]]) -> None:
        """Write each piece at its place; those that follow one another in one call. Raises DiskFull, OSError."""
        with saying("receive the files of a build"):
            run: list[bytes] = []
            start = end = 0
            for position, data in pieces:
                if run and (position != end or len(run) >= _VECTOR):
                    self._write(start, run)
                    run = []
                if not run:
                    start = position
                run.append(data)
                end = position + len(data)
            if run:
                self._write(start, run)

    def _write(self, position: int, pieces: list[bytes]) -> None:
        written = os.pwritev(self._fd, pieces, position)
        if written < sum(map(len, pieces)):
            rest = memoryview(b"".join(pieces))[written:]
            while rest:
                position += written
                written = os.pwrite(self._fd, rest, position)
                rest = rest[written:]

    def copy(self, other: Pack, offset: int, length: int) -> int:
        """Take a file's bytes over from another pack: where they are here."""
        start = self.allocate(length)
        done = 0
        with saying("keep the files of a build"):
            while done < length:
                count = os.copy_file_range(other._fd, self._fd, length - done, offset + done, start + done)
                if not count:
                    raise DataLoss(f"{other.name} of the received build contexts is too short")
                done += count
        return start

    def read(self, offset: int, length: int) -> Iterator[bytes]:
        """A file's bytes. Raises OSError, DataLoss."""
        while length > 0:
            data = os.pread(self._fd, min(length, _CHUNK), offset)
            if not data:
                raise DataLoss(f"{self.name} of the received build contexts is too short")
            yield data
            offset, length = offset + len(data), length - len(data)

    def keep(self, directory: Path) -> None:
        """Give it its name (linkat(2) of what /proc names)."""
        source = f"/proc/self/fd/{self._fd}"
        # with a descriptor, which an absolute path makes nothing of, Python calls linkat with AT_SYMLINK_FOLLOW
        os.link(source, directory / self.name, src_dir_fd=self._fd, follow_symlinks=True)
