"""A container's files, running or not, for the daemon to read and write: by descriptor only. Daemon; blocking.

A running container is entered through /proc/PID/root, which shows its own mounts; a stopped one through a detached
mount of its snapshot, and through a mount's source below its destination. Paths are the container's: they are resolved
with openat2(RESOLVE_IN_ROOT), so no link leads out (CVE-2018-15664, CVE-2026-41568).
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, Protocol

from corten.engine.containers.record import ContainerRecord, MountRecord
from corten.errors import InvalidArgument, NotFound
from corten.linux.openat2 import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, openat2

_RESOLVE = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
_PATH_LIMIT = 4096


class Snapshots(Protocol):
    """The writable layers."""

    def root_fd(self, key: str) -> int:
        """A detached mount of the whole root; the caller closes it."""


class Place(NamedTuple):
    """Where a path is: `root` (open while the context lasts), the path below it, whether it may be written."""

    root: int
    path: str
    read_only: bool


class PathNotFound(NotFound):
    """The container has no such file."""

    code = "container-path-not-found"


def clean(path: str) -> str:
    """An absolute, lexically clean path of the container. Raises InvalidArgument."""
    if not path or "\0" in path or len(path) > _PATH_LIMIT:
        raise InvalidArgument("bad parameter: path cannot be empty" if not path else "invalid path")
    return posixpath.normpath("/" + path.lstrip("/"))


@contextmanager
def locate(record: ContainerRecord, snapshots: Snapshots, path: str) -> Iterator[Place]:
    """The place of a clean path. Raises OSError, NotFound."""
    pid = record.status.pid if record.status.status.has_process else 0
    if pid:
        root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        place = Place(root, path, read_only=False)  # the kernel knows, by the container's own mounts
    elif (mount := _mount_of(record.mounts, path)) is not None:
        source, below = mount.source, path[len(mount.destination) :].lstrip("/")
        if not below and not stat.S_ISDIR(os.lstat(source).st_mode):
            source, below = os.path.split(source)
        root = os.open(source, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        place = Place(root, "/" + below, mount.read_only)
    else:
        root = snapshots.root_fd(record.id)
        place = Place(root, path, bool(record.host_config.readonly_rootfs))
    try:
        yield place
    finally:
        os.close(root)


def _mount_of(mounts: Sequence[MountRecord], path: str) -> MountRecord | None:
    """The mount whose destination is the longest prefix of `path`; tmpfs have nothing while stopped."""
    inside = [m for m in mounts if m.source and (path == m.destination or path.startswith(m.destination + "/"))]
    return max(inside, key=lambda m: len(m.destination), default=None)


def open_parent(place: Place, not_found: str) -> tuple[int, bytes]:
    """The directory that holds the path's last name, and that name ("." for the root itself). Raises PathNotFound."""
    head, name = posixpath.split(place.path)
    try:
        fd = openat2(place.root, head or "/", os.O_RDONLY | os.O_DIRECTORY, resolve=_RESOLVE)
    except OSError as error:
        raise translated(error, not_found) from error
    return fd, os.fsencode(name) or b"."


def open_directory(place: Place, not_found: str) -> int:
    """The path itself, links followed inside the root, as a directory. Raises PathNotFound, NotADirectoryError."""
    try:
        return openat2(place.root, place.path, os.O_RDONLY | os.O_DIRECTORY, resolve=_RESOLVE)
    except OSError as error:
        raise translated(error, not_found) from error


def translated(error: OSError, not_found: str) -> Exception:
    """What a client is told of a failed look-up."""
    if error.errno in (errno.ENOENT, errno.ELOOP):
        return PathNotFound(not_found)
    return error
