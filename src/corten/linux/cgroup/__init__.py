"""Control groups of containers behind one small interface: v1, v2 and hybrid. Stdlib only, blocking, any process.

`open_cgroup("/corten/<id>")` touches nothing; `create` makes. Whoever opened one may do anything with it, also in
another process: all state is in the kernel.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from corten.errors import InvalidArgument
from corten.linux.cgroup.mounts import CgroupMounts, cgroup_mounts
from corten.linux.cgroup.plan import LimitUnsupported
from corten.linux.cgroup.v1 import V1Cgroup
from corten.linux.cgroup.v2 import V2Cgroup

__all__ = ["Cgroup", "CgroupMounts", "LimitUnsupported", "cgroup_mounts", "open_cgroup"]


class Cgroup(Protocol):
    """A container's cgroup. Errors: OSError from the kernel, LimitUnsupported, InvalidArgument."""

    def create(self) -> None:
        """Make it, parents included; nothing happens when it exists, nothing is left when it fails."""

    def add(self, pid: int) -> None:
        """Move a process into it."""

    def clone_fd(self) -> int | None:
        """v2: a directory fd for CLONE_INTO_CGROUP (the caller closes it); v1: None, use `add`."""

    def exists(self) -> bool:
        """Whether it is there."""

    def apply(self, resources: Mapping[str, Any]) -> None:
        """Set what OCI `linux.resources` names and leave the rest; before the start and for updates."""

    def pids(self) -> list[int]:
        """All processes in it and below."""

    def kill(self) -> None:
        """SIGKILL to all processes in it and below, frozen ones too; does not wait for their end."""

    def freeze(self) -> None:
        """Stop all processes in it; returns when they are stopped."""

    def thaw(self) -> None:
        """Let them go on."""

    def frozen(self) -> bool:
        """Whether `freeze` is in force."""

    def stats(self) -> dict[str, Any]:
        """Counters in the form that `corten.linux.cgroup.stats` describes."""

    def oom_kills(self) -> int:
        """How many processes the OOM killer took."""

    def oom_fd(self) -> int:
        """Becomes readable (v1 eventfd, v2 inotify) when an OOM may have happened: read it, compare `oom_kills`."""

    def remove(self) -> None:
        """Remove it and all below; waits a bounded time for dying processes; nothing happens when it is gone."""


def open_cgroup(path: str) -> Cgroup:
    """The cgroup `path` (OCI `linux.cgroupsPath`, cgroupfs form) of this machine's hierarchies.

    A path without leading slash is taken below the root, as OCI lets the runtime choose. Raises InvalidArgument.
    """
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if not parts or ".." in parts or any("\0" in part or "\n" in part or len(part) > 255 for part in parts):
        raise InvalidArgument(f"invalid cgroupsPath {path!r}: must name a cgroup below the root")
    clean = "/" + "/".join(parts)
    mounts = cgroup_mounts()
    return V2Cgroup(clean, mounts) if mounts.mode == "v2" else V1Cgroup(clean, mounts)
