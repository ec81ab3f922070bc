"""Capabilities: names and numbers, and the five sets of a process as bit masks. Stdlib only, any process.

The system calls that change them are in credentials.py; which of them a container gets is decided in
corten.security. Facts: capabilities(7), linux/capability.h.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

# Number = place in the list (linux/capability.h).
NAMES: tuple[str, ...] = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
)
NUMBERS: dict[str, int] = {name: number for number, name in enumerate(NAMES)}


class CapabilitySets(NamedTuple):
    """The five sets of a process (OCI `process.capabilities`), as masks."""

    bounding: int = 0
    effective: int = 0
    inheritable: int = 0
    permitted: int = 0
    ambient: int = 0


@lru_cache(maxsize=1)
def last_cap() -> int:
    """The highest capability that this kernel knows."""
    try:
        with open("/proc/sys/kernel/cap_last_cap", encoding="ascii") as file:
            return int(file.read())
    except FileNotFoundError:
        return len(NAMES) - 1


def to_mask(names: Iterable[str]) -> int:
    """The mask of OCI capability names. Names this kernel does not know are left out, as runc does (with a warning)."""
    mask = 0
    for name in names:
        number = NUMBERS.get(name)
        if number is not None and number <= last_cap():
            mask |= 1 << number
    return mask


def to_names(mask: int) -> list[str]:
    """The names of a mask, by number; a bit without a name is `CAP_<number>`."""
    return [NAMES[number] if number < len(NAMES) else f"CAP_{number}" for number in range(64) if mask & (1 << number)]


def unknown(names: Iterable[str]) -> list[str]:
    """The names that to_mask leaves out."""
    return [name for name in names if NUMBERS.get(name, 64) > last_cap()]


def from_oci(capabilities: Mapping[str, Any] | None) -> CapabilitySets:
    """The sets of OCI `process.capabilities`; without that object all are empty."""
    given = capabilities or {}
    return CapabilitySets(*(to_mask(given.get(name) or ()) for name in CapabilitySets._fields))


def of_process(pid: int | str = "self") -> CapabilitySets:
    """The sets of a process, from /proc/PID/status. Raises OSError."""
    with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as status:
        lines = dict(line.split(":", 1) for line in status if line.startswith("Cap"))
    return CapabilitySets(*(int(lines[key], 16) for key in ("CapBnd", "CapEff", "CapInh", "CapPrm", "CapAmb")))
