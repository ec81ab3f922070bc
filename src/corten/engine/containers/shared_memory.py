"""/dev/shm of containers that let others join their IPC namespace: a tmpfs on the host, bound by all of them. Daemon.

Only for `--ipc shareable` and `--ipc container:x`; every other container has a tmpfs of its own inside its mount
namespace. The tmpfs is mounted at `containers/<id>/shm` while the container runs.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from corten.engine.containers.live import Container
from corten.engine.containers.record import ContainerRecord
from corten.engine.containers.settings import ContainerSettings
from corten.linux.mount import MS_NODEV, MS_NOEXEC, MS_NOSUID, mount, umount2

_MNT_DETACH = 2


def shm_directory(settings: ContainerSettings, cid: str) -> str:
    """Where the tmpfs is."""
    return os.fspath(settings.directory(cid) / "shm")


def shm_source(settings: ContainerSettings, record: ContainerRecord, find: Callable[[str], Container]) -> str:
    """The directory that becomes /dev/shm, "" for a tmpfs of the container's own."""
    mode = record.host_config.ipc_mode
    if mode == "host":
        return "/dev/shm"
    if mode == "shareable":
        return shm_directory(settings, record.id)
    if mode.startswith("container:"):
        other = find(mode.partition(":")[2]).record
        if other.host_config.ipc_mode == "host":
            return "/dev/shm"
        return shm_directory(settings, other.id)
    return ""


def mount_shared(settings: ContainerSettings, record: ContainerRecord) -> bool:
    """Mount it for a shareable container; says whether there was something to do. Raises SyscallError."""
    if record.host_config.ipc_mode != "shareable":
        return False
    directory = shm_directory(settings, record.id)
    os.makedirs(directory, 0o700, exist_ok=True)
    unmount_shared(settings, record.id)
    options = f"mode=1777,size={record.host_config.shm_size}"
    mount("shm", directory, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, options)
    return True


def unmount_shared(settings: ContainerSettings, cid: str) -> None:
    """Unmount it if it is mounted."""
    directory = shm_directory(settings, cid)
    if os.path.ismount(directory):
        umount2(directory, _MNT_DETACH)
