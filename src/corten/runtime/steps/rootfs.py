"""The container's root: mount it, make it the root, make it read-only. Runs in init.

An overlay is mounted with a chdir to the snapshot directory, so that its option string stays short, and onto that
directory in this mount namespace only. `redirect_dir=nofollow`, `metacopy=off` and `index=off` keep overlay attributes
that a layer may carry from meaning anything (Documentation/filesystems/overlayfs.rst).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from typing import Any

from corten.linux.errors import fail
from corten.linux.mount import (
    AT_FDCWD,
    AT_RECURSIVE,
    MNT_DETACH,
    MOUNT_ATTR_RDONLY,
    MS_MOVE,
    MS_PRIVATE,
    MS_REC,
    MS_SLAVE,
    OPEN_TREE_CLONE,
    mount,
    mount_setattr,
    move_mount,
    open_tree,
    pivot_root,
    umount2,
)
from corten.runtime.steps.base import Context, Step
from corten.runtime.steps.namespaces import ROOT_PROPAGATION

_PATH_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_OVERLAY_OPTIONS = "index=off,metacopy=off,redirect_dir=nofollow"
# mount(2) takes one page of options, the end included.
_MAX_OPTIONS = 4095


def overlay_options(rootfs: Mapping[str, Any]) -> str:
    """The option string of a RootfsMount of type overlay. Raises ValueError when a path cannot stand in it."""
    lower, upper, work = rootfs["lower"], rootfs.get("upper"), rootfs.get("work")
    for path in (*lower, upper or "", work or ""):
        if any(char in path for char in ":,\\\0"):
            raise ValueError(f"overlay path {path!r} has a character that mount options cannot carry")
    parts = ["lowerdir=" + ":".join(lower)]
    if upper:
        parts += [f"upperdir={upper}", f"workdir={work}"]
    parts.append(_OVERLAY_OPTIONS)
    parts += rootfs.get("options") or ()
    result = ",".join(parts)
    if len(result) > _MAX_OPTIONS:
        raise ValueError(f"{len(lower)} layers do not fit into the kernel's mount options")
    return result


class MountOverlayRoot(Step):
    """Mount an overlay as the container's root."""

    __slots__ = ("_rootfs",)
    stage = "rootfs"

    def __init__(self, rootfs: Mapping[str, Any]) -> None:
        self._rootfs = rootfs

    def describe(self) -> str:
        return f"mount overlay of {len(self._rootfs['lower'])} layers in {self._rootfs['dir']}"

    def run(self, context: Context) -> None:
        directory = self._rootfs["dir"]
        os.chdir(directory)
        mount("overlay", directory, "overlay", 0, overlay_options(self._rootfs))
        context.root_fd = os.open(directory, _PATH_DIRECTORY)


class BindRoot(Step):
    """Bind a directory as the container's root, with what is mounted below it."""

    __slots__ = ("_source",)
    stage = "rootfs"

    def __init__(self, source: str) -> None:
        self._source = source

    def describe(self) -> str:
        return f"bind root {self._source}"

    def run(self, context: Context) -> None:
        root = open_tree(AT_FDCWD, self._source, OPEN_TREE_CLONE | AT_RECURSIVE)
        place = os.open(self._source, _PATH_DIRECTORY)
        try:
            mount_setattr(root, propagation=MS_SLAVE, recursive=True)
            move_mount(root, place)
        finally:
            os.close(place)
        context.root_fd = root


class AttachRoot(Step):
    """Attach the root that the parent mounted, where this process's user namespace may not mount it itself."""

    __slots__ = ("_place",)
    stage = "rootfs"

    def __init__(self, place: str) -> None:
        self._place = place

    def describe(self) -> str:
        return f"attach the prepared root at {self._place}"

    def run(self, context: Context) -> None:
        root = context.sources.pop(-1)
        # The place needs no permissions of this user: any directory of this namespace will do for pivot_root.
        place = os.open("/", _PATH_DIRECTORY)
        try:
            move_mount(root, place)
        finally:
            os.close(place)
        context.root_fd = root


class IsolateParentMount(Step):
    """With shared propagation: make the mount that the root will be attached to private, as pivot_root demands."""

    __slots__ = ("_directory",)
    stage = "rootfs"

    def __init__(self, directory: str) -> None:
        self._directory = directory

    def describe(self) -> str:
        return f"make the mount around {self._directory} private"

    def run(self, context: Context) -> None:
        mount(None, mount_point_of(self._directory), None, MS_PRIVATE)


def mount_point_of(path: str) -> str:
    """The mount point that host directory `path` lies on."""
    best = "/"
    real = os.path.realpath(path)
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mountinfo:
        for line in mountinfo:
            point = line.split(" ", 5)[4].replace(r"\040", " ").replace(r"\134", "\\")
            if len(point) > len(best) and (real == point or real.startswith(point.rstrip("/") + "/")):
                best = point
    return best


class ReadOnlyRoot(Step):
    """Make the root mount read-only; mounts inside it keep what they are."""

    __slots__ = ()
    stage = "rootfs"

    def describe(self) -> str:
        return "make the root read-only"

    def run(self, context: Context) -> None:
        mount_setattr(context.root_fd, attr_set=MOUNT_ATTR_RDONLY)


class PivotRoot(Step):
    """Make it the root of this mount namespace and let go of the host's: pivot_root(2), its "." and "." form."""

    __slots__ = ("_propagation",)
    stage = "pivot_root"

    def __init__(self, propagation: str) -> None:
        self._propagation = propagation

    def describe(self) -> str:
        return "pivot_root"

    def run(self, context: Context) -> None:
        old_root = os.open("/", _PATH_DIRECTORY)
        try:
            os.fchdir(context.root_fd)
            pivot_root(".", ".")
            os.fchdir(old_root)
            mount(None, ".", None, MS_SLAVE | MS_REC)
            umount2(".", MNT_DETACH)
        finally:
            os.close(old_root)
        os.chdir("/")
        if self._propagation:
            mount(None, "/", None, ROOT_PROPAGATION[self._propagation])


class MoveRoot(Step):
    """Without pivot_root, for hosts that run from an initramfs: move the mount over / and chroot."""

    __slots__ = ()
    stage = "pivot_root"

    def describe(self) -> str:
        return "move the root over / and chroot"

    def run(self, context: Context) -> None:
        # procfs and sysfs of the host would stay reachable below the new root: nothing may be left to uncover.
        for point in ("/proc", "/sys"):
            try:
                umount2(point, MNT_DETACH)
            except OSError as error:
                if error.errno not in {errno.EINVAL, errno.ENOENT}:
                    raise
        os.fchdir(context.root_fd)
        mount(".", "/", None, MS_MOVE)
        os.chroot(".")
        os.chdir("/")
        if os.path.samestat(os.stat("/"), os.fstat(context.root_fd)) is False:
            fail(errno.EXDEV, "chroot", "/")
