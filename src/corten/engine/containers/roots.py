"""A container's files, running or not, for the daemon to read and write: by descriptor only. Daemon; blocking.

A running container is entered through /proc/PID/root, which shows its own mounts; a stopped one through a detached
mount of its snapshot, and through a mount's source below its destination. Paths are the container's: they are resolved
with openat2(RESOLVE_IN_ROOT), so no link leads out (CVE-2018-15664, CVE-2026-41568).
"""

from __future__ import annotations

import errno
import os
import posixpath
import select
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple, Protocol

from corten.engine.containers.record import ContainerRecord, MountRecord
from corten.errors import InvalidArgument, NotFound
from corten.linux.openat2 import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, openat2

_RESOLVE = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
_PATH_LIMIT = 4096
_LINK_LIMIT = 40


class Snapshots(Protocol):
    """The writable layers."""

    def root_fd(self, key: str, *, writable: bool = True) -> int:
        """A detached mount of the whole root; the caller closes it."""


class PathNotFound(NotFound):
    """The container has no such file."""

    code = "container-path-not-found"


class Wanted(NamedTuple):
    """A path as a client names it. `follow`: its end (a slash or a dot) asks for what a link leads to."""

    text: str
    path: str
    base: str
    follow: bool


class Place(NamedTuple):
    """Where a path is: below `root` (open while the container's root is), and whether its mount may be written."""

    root: int
    path: str
    read_only: bool


def wanted(text: str) -> Wanted:
    """The path, absolute and lexically clean, and the name it has in an archive. Raises InvalidArgument."""
    if not text or "\0" in text or len(text) > _PATH_LIMIT:
        raise InvalidArgument("bad parameter: path cannot be empty" if not text else "invalid path")
    path = posixpath.normpath("/" + text.lstrip("/"))
    dot = posixpath.basename("/" + text.rstrip("/")) == "."
    return Wanted(text, path, "." if dot else posixpath.basename(path) or "/", dot or text.endswith("/"))


class ContainerRoot:
    """The root directory of one container, and the mounts that it has or, while it is stopped, would have."""

    def __init__(self, record: ContainerRecord, fd: int, *, running: bool, closing: ExitStack) -> None:
        self.fd = fd
        self._running = running
        self._closing = closing
        self._read_only = not running and bool(record.host_config.readonly_rootfs)
        self._mounts: dict[str, MountRecord] = {}
        self._sources: dict[str, Place] = {}
        for mount in sorted(record.mounts, key=lambda mount: mount.destination.count("/")):
            if running or mount.source:
                self._mounts[self.canonical(mount.destination, last=True)] = mount

    def canonical(self, path: str, *, last: bool) -> str:
        """A clean path without links, as far as it exists; `last` follows one at the end too. Raises OSError."""
        done: list[str] = []
        todo = path.split("/")[::-1]
        links = 0
        while todo:
            name = todo.pop()
            if name in ("", "."):
                continue
            if name == "..":
                del done[-1:]
                continue
            done.append(name)
            target = self._link("/" + "/".join(done)) if last or any(todo) else ""
            if target:
                links += 1
                if links > _LINK_LIMIT:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                done = [] if target.startswith("/") else done[:-1]
                todo += target.split("/")[::-1]
        return "/" + "/".join(done)

    def _link(self, path: str) -> str:
        """Where the link at a path without other links leads; empty when there is no link."""
        if path in self._mounts:
            return ""
        try:
            place = self.place(path)
            fd = openat2(place.root, place.path, os.O_PATH | os.O_NOFOLLOW, resolve=_RESOLVE)
        except (FileNotFoundError, NotADirectoryError):
            return ""
        try:
            return os.readlink("", dir_fd=fd) if stat.S_ISLNK(os.fstat(fd).st_mode) else ""
        finally:
            os.close(fd)

    def place(self, path: str) -> Place:
        """Where a path without links (but perhaps its last name) is. Raises OSError."""
        if self._running:
            return Place(self.fd, path, read_only=False)  # the kernel knows, by the container's own mounts
        over = [at for at in self._mounts if path == at or path.startswith(at + "/")]
        if not over:
            return Place(self.fd, path, self._read_only)
        at = max(over, key=len)
        source = self._source(at)
        return source._replace(path=posixpath.normpath(f"/{source.path}/{path[len(at) :]}").replace("//", "/"))

    def _source(self, at: str) -> Place:
        place = self._sources.get(at)
        if place is None:
            mount = self._mounts[at]
            source, below = mount.source, ""
            if not stat.S_ISDIR(os.stat(source).st_mode):
                source, below = os.path.split(source)
            fd = os.open(source, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            self._closing.callback(os.close, fd)
            place = self._sources[at] = Place(fd, "/" + below, mount.read_only)
        return place

    def mounts_below(self, path: str) -> list[str]:
        """The destinations of a stopped container's mounts below a path; those below another one are left out."""
        found: list[str] = []
        for at in [] if self._running else sorted(self._mounts, key=len):
            if at.startswith(path.rstrip("/") + "/") and not any(at.startswith(f"{other}/") for other in found):
                found.append(at)
        return found

    def enters(self, path: str, *, crossing: bool) -> bool:
        """Whether a walk goes on into this directory: not into /proc and its like, but into the container's volumes."""
        return (not crossing or path in self._mounts) if self._running else path not in self._mounts


@contextmanager
def container_root(record: ContainerRecord, snapshots: Snapshots, *, writable: bool) -> Iterator[ContainerRoot]:
    """The root of a container, for as long as the context lasts. Raises OSError, NotFound."""
    with ExitStack() as closing:
        fd = _process_root(record)
        running = fd is not None
        if fd is None:
            fd = snapshots.root_fd(record.id, writable=writable)
        closing.callback(os.close, fd)
        yield ContainerRoot(record, fd, running=running, closing=closing)


def _process_root(record: ContainerRecord) -> int | None:
    """/proc/PID/root of the first process. The number may be another process' by now: its cgroup must be ours."""
    if not record.status.status.has_process or record.status.pid <= 0:
        return None
    pid = record.status.pid
    try:
        guard = os.pidfd_open(pid)
    except OSError:
        return None
    try:
        with open(f"/proc/{pid}/cgroup", "rb") as file:
            if record.id.encode() not in file.read(1 << 16):
                return None
        fd = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    else:
        poll = select.poll()  # select(2) has no descriptors from 1024 on
        poll.register(guard, select.POLLIN)
        if not poll.poll(0):
            return fd
        os.close(fd)  # it has ended: what was opened may be another one's
        return None
    finally:
        os.close(guard)


def open_parent(place: Place) -> tuple[int, bytes]:
    """The directory that holds the path's last name, and that name ("." for the root itself). Raises OSError."""
    head, name = posixpath.split(place.path)
    fd = openat2(place.root, head or "/", os.O_RDONLY | os.O_DIRECTORY, resolve=_RESOLVE)
    return fd, os.fsencode(name) or b"."


def open_directory(place: Place) -> int:
    """The path itself as a directory. Raises OSError."""
    return openat2(place.root, place.path, os.O_RDONLY | os.O_DIRECTORY, resolve=_RESOLVE)


@contextmanager
def worded(path: str, reference: str) -> Iterator[None]:
    """What a client is told of a failed look-up. Raises PathNotFound, InvalidArgument."""
    try:
        yield
    except FileNotFoundError as error:
        raise PathNotFound(f"Could not find the file {path} in container {reference}") from error
    except NotADirectoryError as error:
        raise InvalidArgument(f"lstat {path}: not a directory") from error
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise InvalidArgument(f"lstat {path}: too many levels of symbolic links") from error
