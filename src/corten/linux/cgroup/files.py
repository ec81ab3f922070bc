"""Read and write cgroup files, walk and remove cgroup directories. Stdlib only, blocking, any process.

A cgroup file takes one value a write(2) and says in errno what it thinks of it; there is nothing to buffer.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator

from corten.linux.errors import SyscallError

_CHUNK = 65536


def read_text(path: str) -> str:
    """The whole of a cgroup or proc file. Raises OSError with the path."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = os.read(fd, _CHUNK)
        while more := os.read(fd, _CHUNK):
            data += more
    except OSError as error:
        raise SyscallError(error.errno or 0, "read", path) from error
    finally:
        os.close(fd)
    return data.decode("utf-8", "surrogateescape")


def read_or(path: str, missing: str) -> str:
    """Like read_text, and `missing` when the file is not there or cannot be read in this kind of cgroup."""
    try:
        return read_text(path)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EOPNOTSUPP, errno.ENODEV):
            return missing
        raise


def write_text(path: str, value: str) -> None:
    """Write `value` in one write(2). Never creates a file. Raises OSError with path and value."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode("utf-8", "surrogateescape"))
    except OSError as error:
        raise SyscallError(error.errno or 0, "write", path, f"the value was {value!r}") from error
    finally:
        os.close(fd)


def make_dirs(root: str, path: str, made: list[str]) -> None:
    """Make the cgroup `path` (absolute, clean) below the mount point `root`; new directories go to `made`."""
    leaf = root + path
    try:
        os.mkdir(leaf, 0o755)
    except FileExistsError:
        return
    except FileNotFoundError:
        parent = path.rpartition("/")[0]
        if not parent:
            raise
        make_dirs(root, parent, made)
        make_dirs(root, path, made)
        return
    made.append(leaf)


def remove_made(made: list[str]) -> None:
    """Undo make_dirs, as far as nobody else uses the directories by now."""
    for directory in reversed(made):
        with contextlib.suppress(OSError):
            os.rmdir(directory)


def walk(directory: str) -> Iterator[str]:
    """`directory` and all cgroups below it, each before its children. Vanished ones are left out."""
    pending = [directory]
    while pending:
        current = pending.pop()
        try:
            # kernfs counts children as st_nlink - 2: most cgroups are leaves and need no readdir.
            children = os.stat(current).st_nlink > 2
            if children:
                with os.scandir(current) as entries:
                    pending.extend(entry.path for entry in entries if entry.is_dir(follow_symlinks=False))
        except FileNotFoundError:
            continue
        yield current


def list_pids(directory: str) -> list[int]:
    """The processes in `directory` and below."""
    pids: list[int] = []
    for current in walk(directory):
        try:
            pids.extend(map(int, read_text(current + "/cgroup.procs").split()))
        except OSError as error:
            # ENODEV: the cgroup went away between open and read. EOPNOTSUPP: a threaded cgroup's
            # processes are listed in the domain above it.
            if error.errno not in (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP):
                raise
    return pids


def remove_tree(directory: str, deadline: float) -> None:
    """rmdir `directory` and all below it; retries on EBUSY (dying processes) until `deadline` (time.monotonic)."""
    pause_s = 0.0005
    while True:
        try:
            for current in reversed(list(walk(directory))):
                _rmdir(current)
        except OSError as error:
            # ENOTEMPTY: a child was made since we looked.
            if error.errno not in (errno.EBUSY, errno.ENOTEMPTY) or time.monotonic() >= deadline:
                raise
        else:
            return
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, 0.05)


def _rmdir(directory: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.rmdir(directory)
