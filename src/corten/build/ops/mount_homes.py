"""The directories that steps' mounts are made in: `<random>/fs`, mounted or unpacked. Daemon; blocking."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from corten.linux.mount import MNT_DETACH, UMOUNT_NOFOLLOW, move_mount, umount2
from corten.linux.tree import remove_tree

MOUNTED = "fs"
# Below the directory of archives, which is emptied at start: on the images' disk, for a context may be larger than /run
UNPACKED = "shown"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def make_home(home: Path) -> Path:
    """The directory to mount at, or to unpack into. Blocking.

    No user of the host gets there: images have setuid programs (CVE-2021-41091).
    """
    home.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    home.mkdir(mode=0o700)
    target = home / MOUNTED
    target.mkdir()
    return target


def attach(mount_fd: int, target: Path) -> None:
    """Attach a detached mount, which stays the caller's to close. Blocking. Raises OSError."""
    at = os.open(target, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        move_mount(mount_fd, at)
    finally:
        os.close(at)


def remove_home(home: Path) -> None:
    """Unmount and delete what a mount was made of. Blocking; missing is fine."""
    target = home / MOUNTED
    with contextlib.suppress(OSError):  # it was unpacked, or is not there
        umount2(os.fspath(target), MNT_DETACH | UMOUNT_NOFOLLOW)
    if os.path.ismount(target):
        raise OSError(f"{target} is still mounted")
    with contextlib.suppress(FileNotFoundError):
        parent = os.open(home.parent, _DIRECTORY)
        try:
            remove_tree(home.name, dir_fd=parent)
        finally:
            os.close(parent)


def sweep(directory: Path) -> None:
    """At the daemon's start: remove what an earlier one left. Blocking."""
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(directory):
            remove_home(directory / name)
