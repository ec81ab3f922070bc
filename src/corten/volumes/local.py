"""The local driver: a directory a volume, with an optional mount on it (tmpfs, NFS, bind, any file system). Blocking.

`volumes/<name>/_data` is the content. A removal first renames the directory, so that a crash leaves nothing that looks
like a volume; `names` clears such rests. Mounts of volumes are on the host, made for the first container that uses the
volume, so that all share one.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping
from pathlib import Path

from corten.errors import FailedPrecondition
from corten.linux.errors import reason
from corten.linux.mount import MNT_DETACH, MS_BIND, MS_REC, MS_REMOUNT, mount, umount2
from corten.linux.mount_table import mounted_at
from corten.volumes import mount_options
from corten.volumes.mount_options import MountPlan
from corten.volumes.tree import remove_tree, tree_size

_DATA = "_data"
_REMOVING = ".removing-"


class LocalDriver:
    """Volumes below one directory of the host."""

    name = "local"
    scope = "local"

    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir(mode=0o701, parents=True, exist_ok=True)

    def check(self, options: Mapping[str, str]) -> None:
        """See VolumeDriver."""
        mount_options.check(options)

    def create(self, name: str, options: Mapping[str, str]) -> None:
        """See VolumeDriver."""
        self.check(options)
        directory = self._root / name
        directory.mkdir(mode=0o701, exist_ok=True)
        try:
            (directory / _DATA).mkdir(mode=0o755, exist_ok=True)
        except BaseException:
            with contextlib.suppress(OSError):
                directory.rmdir()
            raise

    def path(self, name: str) -> str:
        """See VolumeDriver."""
        return str(self._root / name / _DATA)

    def mount(self, name: str, options: Mapping[str, str]) -> str:
        """See VolumeDriver."""
        path = self.path(name)
        plan = mount_options.plan(options)
        if plan is not None and not is_mount_point(path):
            _mount(plan, path)
        return path

    def unmount(self, name: str, options: Mapping[str, str]) -> None:
        """See VolumeDriver."""
        if mount_options.plan(options) is not None and is_mount_point(self.path(name)):
            umount2(self.path(name), MNT_DETACH)

    def remove(self, name: str, options: Mapping[str, str]) -> None:
        """See VolumeDriver."""
        self.unmount(name, options)
        doomed = f"{_REMOVING}{os.urandom(8).hex()}"
        try:
            os.rename(self._root / name, self._root / doomed)
        except FileNotFoundError:
            return
        self._clear(doomed)

    def _clear(self, entry: str) -> None:
        fd = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            remove_tree(fd, entry)
        finally:
            os.close(fd)

    def usage(self, name: str, options: Mapping[str, str]) -> int:
        """See VolumeDriver."""
        return tree_size(self.path(name)) if mount_options.plan(options) is None else -1

    def names(self) -> list[str]:
        """See VolumeDriver."""
        found = []
        for entry in sorted(os.listdir(self._root)):
            if entry.startswith(_REMOVING):
                self._clear(entry)
            elif (self._root / entry / _DATA).is_dir():
                found.append(entry)
        return found


def is_mount_point(path: str) -> bool:
    """Whether something is mounted exactly at `path` (proc_pid_mountinfo(5))."""
    return mounted_at(os.path.realpath(path)) is not None


def _mount(plan: MountPlan, path: str) -> None:
    data = plan.data
    if plan.address:
        data = data.replace(f"addr={plan.address}", f"addr={_address(plan.address)}")
    try:
        if plan.flags & MS_BIND:
            mount(plan.device, path, None, plan.flags & (MS_BIND | MS_REC))
            rest = plan.flags & ~(MS_BIND | MS_REC)
            if rest:
                _remount(path, rest)
        else:
            mount(plan.device, path, plan.fstype, plan.flags, data)
        if plan.propagation:
            mount(None, path, None, plan.propagation)
    except OSError as error:
        raise FailedPrecondition(
            f"error while mounting volume '{path}': failed to mount local volume: mount {plan.device}:{path}, "
            + (f"flags: {plan.flags:#x}" if plan.flags else "")
            + (f", data: {data}" if data else "")
            + f": {reason(error.errno or 0)}"
        ) from error


def _remount(path: str, flags: int) -> None:
    """A bind mount takes its flags only when it is mounted again."""
    try:
        mount(None, path, None, MS_REMOUNT | MS_BIND | flags)
    except OSError:
        umount2(path, MNT_DETACH)
        raise


def _address(host: str) -> str:
    """NFS and CIFS take addresses, not names. Raises FailedPrecondition."""
    try:
        return str(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        raise FailedPrecondition(f"error resolving passed in network volume address: {host}: {error}") from error
