"""OCI `maskedPaths` and `readonlyPaths`, by descriptor. Runs in init, after all mounts and before pivot_root.

A masked file gets a bind of /dev/null, accepted only when it is the character device 1:3 (CVE-2025-31133); a masked
directory an empty read-only tmpfs, one for all of them. What does not exist is skipped, as in runc.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence

from corten.linux.errors import fail
from corten.linux.mount import (
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    clone_tree,
    mount_setattr,
    move_mount,
    new_filesystem,
)
from corten.runtime.inroot import open_in_root
from corten.runtime.steps.base import Context, Step

_NULL = os.makedev(1, 3)
_EMPTY = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC
_MISSING = frozenset({errno.ENOENT, errno.ENOTDIR})


def _open_existing(context: Context, path: str) -> int:
    try:
        return open_in_root(context.root_fd, path)
    except OSError as error:
        if error.errno in _MISSING:
            return -1
        raise


def _verified_null(context: Context) -> int:
    """A descriptor of the container's /dev/null that is certainly the null device."""
    if context.dev_fd >= 0:
        fd = os.open("null", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=context.dev_fd)
        if not os.fstat(fd).st_size and stat.S_ISREG(os.fstat(fd).st_mode):
            # In a user namespace the node is a bind over this file: cross into the mount.
            os.close(fd)
            fd = open_in_root(context.root_fd, "/dev/null", symlinks=False)
    else:
        fd = open_in_root(context.root_fd, "/dev/null", symlinks=False)
    status = os.fstat(fd)
    if not stat.S_ISCHR(status.st_mode) or status.st_rdev != _NULL:
        os.close(fd)
        fail(errno.ENODEV, "open", "/dev/null", "it is not the null device: paths cannot be masked")
    return fd


class MaskPaths(Step):
    """Hide paths of procfs and sysfs."""

    __slots__ = ("_paths",)
    stage = "masks"

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = paths

    def describe(self) -> str:
        return f"mask {len(self._paths)} paths"

    def prepare(self, context: Context) -> None:
        context.prepared["empty directory",] = _new_empty()

    def run(self, context: Context) -> None:
        null = empty = -1
        try:
            for path in self._paths:
                target = _open_existing(context, path)
                if target < 0:
                    continue
                try:
                    if not stat.S_ISDIR(os.fstat(target).st_mode):
                        if null < 0:
                            null = _verified_null(context)
                        _bind(null, target)
                    elif empty < 0:
                        # The first one attaches the tmpfs itself; only what is attached can be cloned (open_tree(2)).
                        empty = context.prepared.pop(("empty directory",), -1)
                        empty = empty if empty >= 0 else _new_empty()
                        move_mount(empty, target)
                    else:
                        _bind(empty, target)
                finally:
                    os.close(target)
        finally:
            for fd in (null, empty):
                if fd >= 0:
                    os.close(fd)


def _new_empty() -> int:
    return new_filesystem("tmpfs", [("source", "tmpfs"), ("mode", "555"), ("nr_inodes", "1")], _EMPTY)


def _bind(source: int, target: int) -> None:
    clone = clone_tree(source)
    try:
        move_mount(clone, target)
    finally:
        os.close(clone)


class ReadOnlyPaths(Step):
    """Bind paths over themselves, read-only with all that is mounted below; other flags stay as they are."""

    __slots__ = ("_paths",)
    stage = "readonly paths"

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = paths

    def describe(self) -> str:
        return f"make {len(self._paths)} paths read-only"

    def run(self, context: Context) -> None:
        for path in self._paths:
            target = _open_existing(context, path)
            if target < 0:
                continue
            try:
                clone = clone_tree(target, recursive=True)
                try:
                    mount_setattr(clone, attr_set=MOUNT_ATTR_RDONLY, recursive=True)
                    move_mount(clone, target)
                finally:
                    os.close(clone)
            finally:
                os.close(target)
