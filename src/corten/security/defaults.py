"""Paths that a container must not see or write, unless it is privileged. Data and one pure function; daemon.

The list is that of moby's current master: over Docker 26 it hides /proc/interrupts (GHSA-6fw5, a side channel) and
each CPU's thermal_throttle. Paths that do not exist are skipped by whoever masks them.
"""

from __future__ import annotations

import glob
from functools import lru_cache

MASKED_PATHS: tuple[str, ...] = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",  # CVE-2020-8694, GHSA-jq35: energy counters tell what others compute
    "/sys/firmware",
)

READONLY_PATHS: tuple[str, ...] = (
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
)


@lru_cache(maxsize=1)
def masked_paths() -> tuple[str, ...]:
    """MASKED_PATHS and the per-CPU thermal_throttle directories of this machine."""
    return (*MASKED_PATHS, *sorted(glob.glob("/sys/devices/system/cpu/cpu[0-9]*/thermal_throttle")))
