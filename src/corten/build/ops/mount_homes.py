"""The directories that steps' mounts are made in: `<random>/fs`, mounted or unpacked. Daemon; blocking."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from corten.linux.mount import MNT_DETACH, UMOUNT_NOFOLLOW, umount2
from corten.linux.tree import remove_tree

MOUNTED = "fs"
# Below the directory of archives, which is emptied at start: on the images' disk, for a context may be larger than /run
UNPACKED = "shown"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


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
