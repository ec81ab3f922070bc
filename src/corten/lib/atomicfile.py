"""Replace a file so that a crash leaves the old or the new content, never a mix. Blocking; any process.

The order is that of every safe commit here: write a temporary file, fsync it, rename it over the name, fsync the
directory (rename(2), fsync(2)).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path  # the shim uses this file and must not pay for pathlib


def fsync_dir(path: str | Path) -> None:
    """Make the names in directory `path` durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_atomic(path: str | Path, data: bytes, *, mode: int = 0o600, durable: bool = True) -> None:
    """Write `data` to `path`; `durable=False` (for /run) leaves out both fsyncs, not the rename. Raises OSError."""
    path = os.fspath(path)
    temporary = f"{path}.{os.getpid()}.tmp"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    try:
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            if durable:
                os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    if durable:
        fsync_dir(os.path.dirname(path) or ".")
