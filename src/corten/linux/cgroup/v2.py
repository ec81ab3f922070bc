"""A container's cgroup on a machine with cgroup v2 alone. Stdlib only, blocking.

The controllers are passed down the path (cgroup.subtree_control of each parent) when the cgroup is made; devices
are a BPF program. Used by shim and runtime; touches no cgroup but its own and the parents that it makes or lies in.
Facts: Documentation/admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

import ctypes
import errno
import os
import time
from collections.abc import Mapping
from typing import Any

from corten.linux import bpf
from corten.linux.cgroup import core, devices, stats
from corten.linux.cgroup.files import (
    list_pids,
    make_dirs,
    read_or,
    read_text,
    remove_made,
    remove_tree,
    walk,
    write_text,
)
from corten.linux.cgroup.mounts import CgroupMounts
from corten.linux.cgroup.plan import LimitUnsupported, execute, section
from corten.linux.cgroup.v2_plan import v2_plan
from corten.linux.syscalls import check, libc

_REMOVE_S = 5.0
_FREEZE_S = 10.0
_IN_MODIFY = 0x2  # sys/inotify.h

_inotify_init1 = libc("inotify_init1", ctypes.c_int)
_inotify_add_watch = libc("inotify_add_watch", ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32)


class V2Cgroup:
    """The cgroup `path` of the unified hierarchy. See `corten.linux.cgroup.Cgroup`."""

    def __init__(self, path: str, mounts: CgroupMounts) -> None:
        assert mounts.unified is not None
        self._root = mounts.unified
        self._path = path
        self._directory = mounts.unified + path

    def create(self) -> None:
        """Make the directory with all controllers that its parents can pass on; nothing is left when it fails."""
        made: list[str] = []
        try:
            make_dirs(self._root, self._path, made)
            parent = self._root
            for name in self._path.split("/")[1:]:
                _pass_controllers(parent)
                parent += "/" + name
        except BaseException:
            remove_made(made)
            raise

    def add(self, pid: int) -> None:
        """Move process `pid` into the cgroup."""
        try:
            write_text(self._directory + "/cgroup.procs", str(pid))
        except OSError as error:
            if error.errno not in (errno.EBUSY, errno.EOPNOTSUPP):
                raise
            # "No internal processes": the container handed its controllers down and lives in a child of its own.
            write_text(self._populated() + "/cgroup.procs", str(pid))

    def clone_fd(self) -> int | None:
        """A directory fd for clone3's CLONE_INTO_CGROUP; the caller closes it."""
        inner = read_text(self._directory + "/cgroup.subtree_control").strip()
        directory = self._populated() if inner else self._directory
        return os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def _populated(self) -> str:
        """The highest cgroup in the container's subtree that holds a process."""
        for directory in walk(self._directory):
            try:
                if read_text(directory + "/cgroup.procs").strip():
                    return directory
            except OSError:
                continue
        return self._directory

    def exists(self) -> bool:
        """Whether the directory is there."""
        return os.path.isdir(self._directory)

    def apply(self, resources: Mapping[str, Any]) -> None:
        """Set the limits of OCI `linux.resources` (also of a running container)."""
        memory = section(resources, "memory")
        if memory.get("checkBeforeUpdate"):
            core.check_memory_limit(memory, int(read_or(self._directory + "/memory.current", "0")))
        plan = v2_plan(resources, cpu_max=read_or(self._directory + "/cpu.max", "max 100000"))
        rules = resources.get("devices")
        if rules is not None:
            self._apply_devices(devices.fold(rules))
        execute(plan, lambda _: self._directory)

    def _apply_devices(self, target: devices.DeviceList) -> None:
        directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            bpf.set_cgroup_device_program(directory, devices.program(target))
        except OSError as error:
            if error.errno in (errno.EPERM, errno.EACCES) and bpf.in_user_namespace():
                return  # where BPF is not allowed, the kernel gives no device nodes either
            if error.errno in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
                raise LimitUnsupported(
                    f"cannot restrict devices: this kernel refuses BPF programs ({error})"
                ) from error
            raise
        finally:
            os.close(directory)

    def pids(self) -> list[int]:
        """All processes in the cgroup and below."""
        return list_pids(self._directory)

    def kill(self) -> None:
        """SIGKILL to all processes in the cgroup and below. Does not wait until they are gone."""
        if not core.kill_by_file(self._directory) and self.exists():
            try:
                core.kill_by_signals(self)
            finally:
                core.thaw_by_file(self._directory)

    def freeze(self) -> None:
        """Stop all processes; returns when they are. Raises OSError ETIMEDOUT, with all thawed again."""
        if not core.freeze_by_file(self._directory, _FREEZE_S):
            raise LimitUnsupported("cannot pause: this kernel's cgroups have no cgroup.freeze (it came with Linux 5.2)")

    def thaw(self) -> None:
        """Let frozen processes run again."""
        core.thaw_by_file(self._directory)

    def frozen(self) -> bool:
        """Whether the processes are stopped by freeze()."""
        return core.is_frozen_by_file(self._directory)

    def stats(self) -> dict[str, Any]:
        """What the controllers count; keys as in `corten.linux.cgroup.stats`."""
        return stats.v2_stats(self._directory)

    def oom_kills(self) -> int:
        """How many processes the OOM killer took here and below so far."""
        return stats.flat(read_or(self._directory + "/memory.events", "")).get("oom_kill", 0)

    def oom_fd(self) -> int:
        """An inotify fd, readable after an OOM and after lesser memory events. The caller closes it."""
        path = self._directory + "/memory.events"
        if not os.path.exists(path):
            raise LimitUnsupported("cannot watch for OOM: the cgroup controller 'memory' is not available")
        fd = check(_inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC), "inotify_init1")
        try:
            check(_inotify_add_watch(fd, os.fsencode(path), _IN_MODIFY), "inotify_add_watch", path)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def remove(self) -> None:
        """Remove the cgroup and all below it; waits a bounded time for dying processes. Parents stay."""
        core.wait_empty(self._directory, _REMOVE_S)
        remove_tree(self._directory, time.monotonic() + _REMOVE_S)


def _pass_controllers(parent: str) -> None:
    """Enable for the children of `parent` all controllers it has. One that cannot be is missed by who needs it."""
    wanted = set(read_text(parent + "/cgroup.controllers").split())
    wanted -= set(read_text(parent + "/cgroup.subtree_control").split())
    if not wanted:
        return
    try:
        write_text(parent + "/cgroup.subtree_control", " ".join(f"+{name}" for name in sorted(wanted)))
    except OSError:
        for name in sorted(wanted):
            try:
                write_text(parent + "/cgroup.subtree_control", f"+{name}")
            except OSError as error:
                # EBUSY: processes live in `parent` itself. Others: the controller serves other purposes (rt tasks).
                # `apply` names the controller if a limit needs it.
                if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
                    raise
