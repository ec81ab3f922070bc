"""A full disk, said in one way: what was being written, where, and Docker's words. Daemon; any thread.

The kernel tells of it by ENOSPC or EDQUOT on whatever call came first, often without a name; whoever knows what the
bytes were for wraps the work in `saying`. It stays an OSError, so that nothing that handles one has to learn of it.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator

WORDS = "no space left on device"
_ERRNOS = (errno.ENOSPC, errno.EDQUOT)


class DiskFull(OSError):
    """`what` could not be written for want of space."""

    def __init__(self, what: str, number: int = errno.ENOSPC) -> None:
        super().__init__(number, WORDS)
        self.what = what
        self.hint = "remove images, containers or volumes that are not needed (system df shows what takes space)"

    def __str__(self) -> str:
        return f"{self.what}: {WORDS if self.errno == errno.ENOSPC else 'disk quota exceeded'}"


def is_disk_full(error: BaseException) -> bool:
    """Whether the kernel refused to write for want of space."""
    return isinstance(error, OSError) and error.errno in _ERRNOS


def words(error: BaseException) -> str:
    """What to tell a person of an error; a full disk in Docker's words also where nobody has named the work."""
    if is_disk_full(error) and not isinstance(error, DiskFull):
        assert isinstance(error, OSError)
        return str(DiskFull(f"write {os.fsdecode(error.filename)}" if error.filename else "write", error.errno or 0))
    return str(error)


@contextlib.contextmanager
def saying(what: str) -> Iterator[None]:
    """Work that writes `what`: a full disk is raised as DiskFull, all else as it is."""
    try:
        yield
    except OSError as error:
        if is_disk_full(error) and not isinstance(error, DiskFull):
            raise DiskFull(what, error.errno or errno.ENOSPC) from error
        raise
