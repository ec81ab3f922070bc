"""Where this machine's cgroup hierarchies are mounted: v1, v2, or both (hybrid). Stdlib only, any process.

Read once from /proc/self/mountinfo (proc_pid_mountinfo(5)) and kept: the answer is inherited over fork, and a
process must ask before it changes its mount namespace.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, NamedTuple

Mode = Literal["v1", "hybrid", "v2"]

# Mount options of a v1 hierarchy that are no controllers (cgroup1_show_options in the kernel).
_NOT_CONTROLLERS = frozenset(
    {"rw", "ro", "noprefix", "xattr", "clone_children", "cpuset_v2_mode", "favordynmods", "none"}
)


class Hierarchy(NamedTuple):
    """One mounted v1 hierarchy: its mount point, its controllers, and its name (`systemd`) if it has one."""

    mountpoint: str
    controllers: tuple[str, ...]
    name: str = ""


class CgroupMounts(NamedTuple):
    """All hierarchies of the machine. `unified` is the mount point of cgroup2, or None."""

    v1: tuple[Hierarchy, ...]
    unified: str | None

    @property
    def mode(self) -> Mode:
        """`v2` when no v1 hierarchy holds a controller, `hybrid` when both kinds are mounted."""
        if not any(hierarchy.controllers for hierarchy in self.v1):
            return "v2" if self.unified is not None else "v1"
        return "v1" if self.unified is None else "hybrid"


def parse_mountinfo(text: str) -> CgroupMounts:
    """The cgroup mounts that a mountinfo text lists. A hierarchy mounted twice counts where it comes first."""
    v1: dict[tuple[tuple[str, ...], str], Hierarchy] = {}
    unified: str | None = None
    for line in text.splitlines():
        head, separator, tail = line.partition(" - ")
        kind, _, rest = tail.partition(" ")
        if not separator or kind not in ("cgroup", "cgroup2"):
            continue
        # Spaces and the like stand as octal escapes; "\134" is the backslash itself and comes last.
        mountpoint = head.split(" ")[4].replace(r"\040", " ").replace(r"\011", "\t").replace(r"\134", "\\")
        if kind == "cgroup2":
            unified = unified or mountpoint
            continue
        options = rest.rpartition(" ")[2].split(",")
        name = next((option[5:] for option in options if option.startswith("name=")), "")
        controllers = tuple(option for option in options if option not in _NOT_CONTROLLERS and "=" not in option)
        v1.setdefault((controllers, name), Hierarchy(mountpoint, controllers, name))
    return CgroupMounts(tuple(v1.values()), unified)


@lru_cache(maxsize=1)
def cgroup_mounts() -> CgroupMounts:
    """The mounts seen by this process when it first asked. Raises OSError when /proc is not mounted."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mountinfo:
        return parse_mountinfo(mountinfo.read())
