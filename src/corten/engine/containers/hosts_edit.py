"""Adds and removes lines of a running container's /etc/hosts, whatever the container has made of it. Daemon, blocking.

The container has this very file mounted, so it is changed in place and not replaced. Nothing of what else stands in it
is lost: what cannot be handled whole is left as it is.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from corten.network import hosts_files

_LOG = logging.getLogger("corten.containers")
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
_MAX_BYTES = 4 << 20  # lines are looked for in so much at most


def write_whole(fd: int, data: bytes, offset: int = 0) -> None:
    """Write all of it at `offset`. Raises OSError."""
    while data:
        written = os.pwrite(fd, data, offset)
        data, offset = data[written:], offset + written


@contextmanager
def _opened(path: str) -> Iterator[tuple[int, int]]:
    fd = os.open(path, _FLAGS, 0o644)
    try:
        yield fd, os.fstat(fd).st_size
    finally:
        os.close(fd)


def add_lines(path: str, lines: str) -> None:
    """Append lines, each with its newline. Raises OSError; the file is as before then."""
    with _opened(path) as (fd, size):
        complete = not size or os.pread(fd, 1, size - 1) == b"\n"
        try:
            write_whole(fd, (b"" if complete else b"\n") + lines.encode(), size)
        except OSError:
            os.ftruncate(fd, size)
            raise


def remove_lines(path: str, lines: str) -> None:
    """Take out the lines that are wholly one of these. A file that is too large for that keeps them, and the log tells.
    Raises OSError."""
    with _opened(path) as (fd, size):
        text = os.pread(fd, _MAX_BYTES + 1, 0) if size <= _MAX_BYTES else b""
        if len(text) != size:
            _LOG.warning("%s is too large to be edited: it keeps addresses that its container has lost", path)
            return
        left = hosts_files.without_lines(text, lines)
        if left != text:
            write_whole(fd, left)
            os.ftruncate(fd, len(left))
