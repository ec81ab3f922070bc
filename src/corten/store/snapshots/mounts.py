"""The mount namespace in which layers are mounted, once each for all containers. Daemon; one thread of it is inside.

A layer's image must be mounted once: two mounts of one file are two file systems that share no page of memory. Until
Linux 6.15 overlayfs takes lower directories from the caller's own mount namespace only (clone_private_mount), hence a
detached mount, kept by its descriptor, cannot be one. And mounts in the host's namespace are seen, slow down whoever
copies or reads the table, and stay after a crash. So one thread has a mount namespace whose root is the snapshots'
directory and that has nothing else but the layers; it makes the overlay mounts too, detached, for who wants them.

No other process and no other thread sees these mounts, and they go with the daemon; containers' overlays hold what they
need of them. The thread does nothing but the calls below: it sees no /proc, no /dev and no module to import.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from corten.linux.mount import (
    AT_FDCWD,
    MNT_DETACH,
    MS_PRIVATE,
    MS_REC,
    OPEN_TREE_CLONE,
    clone_tree,
    mount,
    mount_setattr,
    move_mount,
    new_filesystem,
    open_tree,
    pivot_root,
    umount2,
)
from corten.linux.namespaces import CLONE_FS, CLONE_NEWNS, unshare

T = TypeVar("T")
_PLACE = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PASSING = "tmp"  # where a mount is attached for a moment
# What a layer says about overlayfs must not be obeyed: no redirects, no metacopies (CVE list: overlay xattr injection).
_OPTIONS = (("source", "overlay"), ("redirect_dir", "nofollow"), ("metacopy", "off"), ("index", "off"))


class LayerMounts:
    """The namespace of one snapshots' directory. Paths are relative to that directory. Any thread may call."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._thread: ThreadPoolExecutor | None = None
        self._root_fd = -1

    def enter(self) -> None:
        """Make the namespace, which costs some milliseconds; else the first call does. Raises OSError."""
        self._run(os.getpid)

    def _run(self, call: Callable[..., T], *args: object) -> T:
        with self._lock:
            thread = self._thread
            if thread is None:
                thread = ThreadPoolExecutor(1, thread_name_prefix="corten-mounts")
                try:
                    self._root_fd = thread.submit(_enter, str(self._root)).result()
                except BaseException:
                    thread.shutdown()
                    raise
                self._thread = thread
        return thread.submit(call, *args).result()

    def path(self, relative: str) -> Path:
        """A path by which any thread of this process reaches what is mounted here."""
        return Path(f"/proc/self/fd/{self._root_fd}/{relative}")

    def attach(self, mount_fd: int, place: str) -> None:
        """Attach a detached mount onto directory `place`. Raises OSError."""
        self._run(_attach, mount_fd, place)

    def detach(self, place: str) -> None:
        """Take the mount at `place` away, if it is there; who uses it keeps it. Raises OSError."""
        try:
            self._run(umount2, place, MNT_DETACH)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.EINVAL):  # it went when its directory was removed
                raise

    def overlay(self, lower: Sequence[str], upper: str = "", work: str = "", *, attributes: int = 0) -> int:
        """A detached overlay mount of `lower`, the topmost first, with MOUNT_ATTR_* `attributes`.

        The caller closes it. Raises OSError.
        """
        return self._run(_overlay, lower, upper, work, attributes)

    def close(self) -> None:
        """Let the namespace go, and all that nobody else uses."""
        with self._lock:
            if self._thread is not None:
                self._thread.shutdown()
                os.close(self._root_fd)
                self._thread, self._root_fd = None, -1


def _enter(root: str) -> int:
    """Leave the host's mounts: this thread's root becomes `root`, alone in a mount namespace. Its descriptor."""
    unshare(CLONE_FS | CLONE_NEWNS)
    mount(None, "/", None, MS_REC | MS_PRIVATE)
    tree = open_tree(AT_FDCWD, root, OPEN_TREE_CLONE)
    try:
        place = os.open(root, _PLACE)
        try:
            move_mount(tree, place)
        finally:
            os.close(place)
        os.fchdir(tree)
        pivot_root(".", ".")
        umount2(".", MNT_DETACH)
        os.chdir("/")
        return os.open("/", _PLACE)
    finally:
        os.close(tree)


def _attach(mount_fd: int, place: str) -> None:
    place_fd = os.open(place, _PLACE)
    try:
        move_mount(mount_fd, place_fd)
    finally:
        os.close(place_fd)


def _overlay(lower: Sequence[str], upper: str, work: str, attributes: int) -> int:
    own = [("upperdir", f"/{upper}"), ("workdir", f"/{work}")] if upper else []
    try:
        layers = [("lowerdir+", f"/{path}") for path in lower]
        return new_filesystem("overlay", [*layers, *own, *_OPTIONS], attributes)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    # Before Linux 6.8 there is no `lowerdir+`, and fsconfig(2) takes 255 bytes where mount(2) takes a page.
    given = ",".join("=".join(option) for option in [("lowerdir", ":".join(lower)), *own, *_OPTIONS[1:]])
    mount("overlay", _PASSING, "overlay", 0, given)
    try:
        return _clone(_PASSING, attributes)
    finally:
        umount2(_PASSING, MNT_DETACH)


def _clone(path: str, attributes: int) -> int:
    """A detached copy of the mount at `path`."""
    place = os.open(path, _PLACE)
    try:
        fd = clone_tree(place)
    finally:
        os.close(place)
    try:
        mount_setattr(fd, attr_set=attributes)
    except BaseException:
        os.close(fd)
        raise
    return fd
