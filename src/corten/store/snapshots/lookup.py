"""What a path is in a stack of layer directories, without mounting them. Blocking; follows no link."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from corten.store.entries import Attributes, Inherited

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPAQUE = "trusted.overlay.opaque"


def is_whiteout(status: os.stat_result) -> bool:
    """Whether this inode is overlayfs' mark for a deleted name."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def is_opaque(fd: int) -> bool:
    """Whether a directory hides the same directory of the layers below."""
    try:
        return os.getxattr(fd, _OPAQUE) == b"y"
    except OSError:
        return False


def lookup(directories: Sequence[Path], path: tuple[bytes, ...]) -> os.stat_result | None:
    """The inode that `path` shows, or None. `directories` are the layers' roots, topmost first."""
    for root in directories:
        status, hides = _in_layer(root, path)
        if status is not None:
            return None if is_whiteout(status) else status
        if hides:
            return None
    return None


def _in_layer(root: Path, path: tuple[bytes, ...]) -> tuple[os.stat_result | None, bool]:
    """(inode, False), or (None, whether this layer hides what lower ones have)."""
    fd = os.open(root, _DIRECTORY)
    try:
        if not path:
            return os.fstat(fd), False
        for depth, name in enumerate(path):
            hides = is_opaque(fd)
            try:
                status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            except FileNotFoundError:
                return None, hides
            if depth == len(path) - 1:
                return status, False
            if not stat.S_ISDIR(status.st_mode):
                return None, True  # a whiteout, a file or a link: nothing below it is seen
            child = os.open(name, _DIRECTORY, dir_fd=fd)
            os.close(fd)
            fd = child
        return None, False
    finally:
        os.close(fd)


def merged_names(directories: Sequence[Path], path: tuple[bytes, ...]) -> set[bytes]:
    """The names that the directory `path` shows. `directories` are the layers' roots, topmost first."""
    names: set[bytes] = set()
    for root in directories:
        try:
            fd = _open_directory(root, path)
        except OSError as error:
            if error.errno == errno.ENOENT:
                continue
            break  # a whiteout, a file or a link: nothing below it is seen
        try:
            names.update(os.fsencode(name) for name in os.listdir(fd))
            if is_opaque(fd):
                break
        finally:
            os.close(fd)
    return {name for name in names if lookup(directories, (*path, name)) is not None}


def _open_directory(root: Path, path: tuple[bytes, ...]) -> int:
    fd = os.open(root, _DIRECTORY)
    for name in path:
        try:
            child = os.open(name, _DIRECTORY, dir_fd=fd)
        finally:
            os.close(fd)
        fd = child
    return fd


def inherited_from(directories: Sequence[Path]) -> Inherited:
    """A function that tells mode, owner and group of a directory in the layers below."""

    def attributes(path: tuple[bytes, ...]) -> Attributes | None:
        status = lookup(directories, path)
        if status is None or not stat.S_ISDIR(status.st_mode):
            return None
        return stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid

    return attributes
