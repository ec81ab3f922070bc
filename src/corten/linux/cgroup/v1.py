"""A container's cgroup on a machine with v1 hierarchies, hybrid ones included. Stdlib only, blocking.

One directory of the same path in each hierarchy: controllers, named ones (systemd) and, on hybrid machines, the
controller-less cgroup2, whose cgroup.kill and cgroup.freeze are better than what v1 has. Used by shim and runtime;
touches no cgroup but its own and the parents that it makes. Facts: Documentation/admin-guide/cgroup-v1/*.rst.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Mapping
from typing import Any

from corten.linux.cgroup import core, devices, stats
from corten.linux.cgroup.files import (
    list_pids,
    make_dirs,
    read_or,
    read_text,
    remove_made,
    remove_tree,
    write_text,
)
from corten.linux.cgroup.mounts import CgroupMounts
from corten.linux.cgroup.plan import LimitUnsupported, execute, section
from corten.linux.cgroup.v1_plan import v1_plan
from corten.linux.errors import SyscallError

_REMOVE_S = 5.0
_FREEZE_S = 10.0


class V1Cgroup:
    """The cgroup `path` in every v1 hierarchy and in cgroup2. See `corten.linux.cgroup.Cgroup`."""

    def __init__(self, path: str, mounts: CgroupMounts) -> None:
        self._path = path
        self._controllers = {name: one.mountpoint + path for one in mounts.v1 for name in one.controllers}
        self._unified = None if mounts.unified is None else mounts.unified + path
        # (membership key as in /proc/PID/cgroup, mount point)
        self._roots = [(",".join([*one.controllers, *_named(one.name)]), one.mountpoint) for one in mounts.v1]
        if mounts.unified is not None:
            self._roots.insert(0, ("", mounts.unified))

    def create(self) -> None:
        """Make the directory in each hierarchy; what was made is removed again when one fails."""
        made: list[str] = []
        try:
            for _, root in self._roots:
                known = len(made)
                make_dirs(root, self._path, made)
                if self._controllers.get("cpuset") == root + self._path:
                    for directory in made[known:]:
                        _inherit_cpuset(directory)
        except BaseException:
            remove_made(made)
            raise

    def add(self, pid: int) -> None:
        """Move process `pid` into the cgroup, back to back in all hierarchies, so that the moves share RCU's wait."""
        inside = _memberships(pid)
        for key, root in self._roots:
            # A move costs milliseconds also when it changes nothing: leave out where pid already is.
            if inside.get(key) != self._path:
                write_text(f"{root}{self._path}/cgroup.procs", str(pid))

    def clone_fd(self) -> int | None:
        """None: CLONE_INTO_CGROUP is for cgroup v2."""
        return None

    def exists(self) -> bool:
        """Whether any of the directories is there."""
        return any(os.path.isdir(root + self._path) for _, root in self._roots)

    def apply(self, resources: Mapping[str, Any]) -> None:
        """Set the limits of OCI `linux.resources` (also of a running container)."""
        memory = section(resources, "memory")
        if memory.get("checkBeforeUpdate"):
            usage = int(read_or(self._controllers.get("memory", "") + "/memory.usage_in_bytes", "0"))
            core.check_memory_limit(memory, usage)
        plan = v1_plan(resources)
        rules = resources.get("devices")
        if rules is not None:
            self._apply_devices(devices.fold(rules))
        execute(plan, self._controllers.get)

    def _apply_devices(self, target: devices.DeviceList) -> None:
        directory = self._controllers.get("devices")
        if directory is None:
            if target.allow_all and not target.exceptions:
                return
            raise LimitUnsupported("cannot restrict devices: the cgroup controller 'devices' is not available")
        current = devices.parse_v1(read_text(directory + "/devices.list"))
        for file, value in devices.v1_writes(current, target):
            write_text(f"{directory}/{file}", value)

    def pids(self) -> list[int]:
        """All processes in the cgroup and below."""
        return list_pids(self._roots[0][1] + self._path) if self._roots else []

    def kill(self) -> None:
        """SIGKILL to all processes in the cgroup and below. Does not wait until they are gone."""
        try:
            if self._unified is None or not core.kill_by_file(self._unified):
                core.kill_by_signals(self)
        finally:
            # A frozen v1 cgroup holds back even SIGKILL.
            if (freezer := self._controllers.get("freezer")) and os.path.exists(freezer + "/freezer.state"):
                write_text(freezer + "/freezer.state", "THAWED")

    def freeze(self) -> None:
        """Stop all processes; returns when they are. Raises OSError ETIMEDOUT, with all thawed again."""
        if self._unified is not None and core.freeze_by_file(self._unified, _FREEZE_S):
            return
        state = self._freezer_file()
        deadline = time.monotonic() + _FREEZE_S
        write_text(state, "FROZEN")
        attempt = 0
        # v1 tells of no change: it must be asked, and asking is what moves FREEZING to FROZEN.
        while read_text(state).strip() != "FROZEN":
            if time.monotonic() >= deadline:
                write_text(state, "THAWED")
                raise SyscallError(errno.ETIMEDOUT, "freeze", state, "processes did not stop in time")
            attempt += 1
            if attempt % 50 == 0:
                # New children of a fork during the freeze can be missed by old kernels: thaw and try again.
                write_text(state, "THAWED")
                write_text(state, "FROZEN")
            time.sleep(min(0.0002 * attempt, 0.01))

    def thaw(self) -> None:
        """Let frozen processes run again."""
        if self._unified is not None:
            core.thaw_by_file(self._unified)
        if (freezer := self._controllers.get("freezer")) and os.path.exists(freezer + "/freezer.state"):
            write_text(freezer + "/freezer.state", "THAWED")

    def frozen(self) -> bool:
        """Whether the processes are stopped by freeze()."""
        if self._unified is not None and core.is_frozen_by_file(self._unified):
            return True
        freezer = self._controllers.get("freezer", "")
        return read_or(freezer + "/freezer.state", "THAWED").strip() in ("FROZEN", "FREEZING")

    def _freezer_file(self) -> str:
        freezer = self._controllers.get("freezer")
        if freezer is None:
            raise LimitUnsupported("cannot pause: the cgroup controller 'freezer' is not available on this machine")
        return freezer + "/freezer.state"

    def stats(self) -> dict[str, Any]:
        """What the controllers count; keys as in `corten.linux.cgroup.stats`."""
        return stats.v1_stats(self._controllers)

    def oom_kills(self) -> int:
        """How many processes the OOM killer took here so far."""
        text = read_or(self._controllers.get("memory", "") + "/memory.oom_control", "")
        return stats.flat(text).get("oom_kill", 0)

    def oom_fd(self) -> int:
        """An eventfd, readable after an OOM, and after the cgroup's removal. The caller closes it."""
        directory = self._controllers.get("memory")
        if directory is None:
            raise LimitUnsupported("cannot watch for OOM: the cgroup controller 'memory' is not available")
        event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            control = os.open(directory + "/memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
            try:
                write_text(directory + "/cgroup.event_control", f"{event} {control}")
            finally:
                os.close(control)
        except BaseException:
            os.close(event)
            raise
        return event

    def remove(self) -> None:
        """Remove the cgroup and all below it; waits a bounded time for dying processes. Parents stay."""
        deadline = time.monotonic() + _REMOVE_S
        if self._unified is not None:
            core.wait_empty(self._unified, _REMOVE_S)
        failure: OSError | None = None
        for _, root in self._roots:
            try:
                remove_tree(root + self._path, deadline)
            except OSError as error:
                failure = failure or error
        if failure is not None:
            raise failure


def _named(name: str) -> list[str]:
    return [f"name={name}"] if name else []


def _memberships(pid: int) -> dict[str, str]:
    lines = read_text(f"/proc/{pid}/cgroup").splitlines()
    return {controllers: path for _, controllers, path in (line.split(":", 2) for line in lines)}


def _inherit_cpuset(directory: str) -> None:
    # A new v1 cpuset is empty and takes no process, unless its parent has cgroup.clone_children.
    if read_text(directory + "/cpuset.cpus").strip() and read_text(directory + "/cpuset.mems").strip():
        return
    parent = os.path.dirname(directory)
    _inherit_cpuset(parent)  # another process may have made it just now, and have come no further
    for name in ("/cpuset.cpus", "/cpuset.mems"):
        write_text(directory + name, read_text(parent + name).strip())
    # Spares these reads and writes for each cgroup that is made below this one.
    write_text(directory + "/cgroup.clone_children", "1")
