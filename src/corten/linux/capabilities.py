"""Capabilities: names and numbers, sets as bit masks, and the system calls that change them. Stdlib only, blocking.

The runtime's init uses it after the last privileged step. Facts: capabilities(7), capset(2), prctl(2),
linux/capability.h. Which capabilities a container gets is decided in corten.security.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
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

_PR_CAPBSET_DROP = 24
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 2, 4
_CAPABILITY_VERSION_3 = 0x20080522
# The raw calls: libc has no wrapper for them.
_NR_CAPSET = {"x86_64": 126, "aarch64": 91, "armv7l": 185, "i686": 185, "riscv64": 91, "s390x": 185, "ppc64le": 184}

_libc = ctypes.CDLL(None, use_errno=True)


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


def drop_bounding(keep: int) -> None:
    """Take all but `keep` out of the bounding set; needs CAP_SETPCAP, so it comes before `set_process`."""
    for number in range(last_cap() + 1):
        if not keep & (1 << number):
            _prctl(_PR_CAPBSET_DROP, number, 0, f"PR_CAPBSET_DROP, {to_names(1 << number)[0]}")


def set_process(sets: CapabilitySets) -> None:
    """Set effective, permitted and inheritable of this thread, then make the ambient set what `sets` says.

    An ambient capability must be permitted and inheritable too: others are left out, as runc does.
    """
    header = ctypes.create_string_buffer(struct.pack("=II", _CAPABILITY_VERSION_3, 0), 8)
    words = [
        (mask >> shift) & 0xFFFFFFFF for shift in (0, 32) for mask in (sets.effective, sets.permitted, sets.inheritable)
    ]
    data = ctypes.create_string_buffer(struct.pack("=6I", *words), 24)
    if _libc.syscall(ctypes.c_long(_NR_CAPSET[platform.machine()]), header, data) < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"capset: {os.strerror(code)}")
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, "PR_CAP_AMBIENT_CLEAR_ALL")
    ambient = sets.ambient & sets.permitted & sets.inheritable
    for number in range(last_cap() + 1):
        if ambient & (1 << number):
            _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, number, f"PR_CAP_AMBIENT_RAISE, {to_names(1 << number)[0]}")


def _prctl(option: int, second: int, third: int, what: str) -> None:
    arguments = (ctypes.c_ulong(value) for value in (second, third, 0, 0))
    if _libc.prctl(ctypes.c_int(option), *arguments) < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl({what}): {os.strerror(code)}")
