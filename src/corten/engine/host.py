"""What the host is: kernel, distribution, processors, memory, control groups. Daemon only; reads /proc and /etc."""

from __future__ import annotations

import contextlib
import os
import platform
from dataclasses import dataclass
from pathlib import Path

from corten.linux.cgroup import cgroup_mounts

# Go's GOARCH for `uname -m`.
_GOARCH = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "armv6l": "arm", "i686": "386", "riscv64": "riscv64"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Controllers:
    """Which limits the kernel can enforce."""

    memory: bool
    swap: bool
    cpu: bool
    cpu_set: bool
    pids: bool
    oom_kill_disable: bool
    version: str  # "1" or "2", of the hierarchy that holds the controllers


def goarch() -> str:
    """The machine's architecture in Go's words."""
    return _GOARCH.get(os.uname().machine, os.uname().machine)


def operating_system() -> tuple[str, str]:
    """(PRETTY_NAME, VERSION_ID) of os-release(5)."""
    with contextlib.suppress(OSError):
        release = platform.freedesktop_os_release()
        return release.get("PRETTY_NAME", "Linux"), release.get("VERSION_ID", "")
    return "Linux", ""


def memory_total() -> int:
    """Physical memory in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0))


def ipv4_forwarding() -> bool:
    """net.ipv4.ip_forward."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/net/ipv4/ip_forward").read_text().strip() == "1"
    return False


def open_descriptors() -> int:
    """How many descriptors this process holds."""
    return len(os.listdir("/proc/self/fd")) - 1


def controllers() -> Controllers:
    """The limits of this machine's control groups."""
    mounts = cgroup_mounts()
    if mounts.mode == "v2":
        names = set(Path(f"{mounts.unified}/cgroup.controllers").read_text().split())
        swap = "memory" in names
    else:
        names = {name for hierarchy in mounts.v1 for name in hierarchy.controllers}
        swap = any(
            os.path.exists(f"{hierarchy.mountpoint}/memory.memsw.limit_in_bytes")
            for hierarchy in mounts.v1
            if "memory" in hierarchy.controllers
        )
    return Controllers(
        memory="memory" in names,
        swap=swap,
        cpu="cpu" in names,
        cpu_set="cpuset" in names,
        pids="pids" in names,
        oom_kill_disable=mounts.mode != "v2" and "memory" in names,
        version="2" if mounts.mode == "v2" else "1",
    )
