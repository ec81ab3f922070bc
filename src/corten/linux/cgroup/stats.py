"""Counters of a cgroup in one form for v1 and v2, enough for Docker's stats of both. Parsers are pure; stdlib only.

    version   1 or 2
    cpu       total_ns user_ns system_ns, percpu_ns [int] (v1), throttling {periods throttled_periods throttled_ns}
    memory    usage, max_usage (v1; v2 since 5.19; else None), limit (None: no limit), failcnt (v1 failcnt, v2 oom
              events), stats {memory.stat as it is}, swap_usage, swap_limit (v1: with memory; v2: swap alone)
    pids      current, limit (None: no limit)
    blkio     NAME_recursive: [{major minor op value}], the names of Docker's blkio_stats; op as the kernel version
              writes it in Docker's answer (v1 "Read", v2 "read")
    hugetlb   {page size: {usage max_usage failcnt}}

A controller that is absent leaves zeros and empty lists.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from corten.linux.cgroup.files import read_or

# v1's counters are whole pages; "no limit" is the greatest page-aligned long.
_V1_UNLIMITED = 1 << 62
_TICKS_NS = 10_000_000  # USER_HZ is 100 on every architecture that Linux has today
_V1_BLKIO = {
    "io_service_bytes_recursive": ("blkio.throttle.io_service_bytes_recursive", "blkio.throttle.io_service_bytes"),
    "io_serviced_recursive": ("blkio.throttle.io_serviced_recursive", "blkio.throttle.io_serviced"),
    "io_queue_recursive": ("blkio.bfq.io_queued_recursive", "blkio.io_queued_recursive"),
    "io_service_time_recursive": ("blkio.bfq.io_service_time_recursive", "blkio.io_service_time_recursive"),
    "io_wait_time_recursive": ("blkio.bfq.io_wait_time_recursive", "blkio.io_wait_time_recursive"),
    "io_merged_recursive": ("blkio.bfq.io_merged_recursive", "blkio.io_merged_recursive"),
    "io_time_recursive": ("blkio.bfq.time_recursive", "blkio.time_recursive"),
    "sectors_recursive": ("blkio.bfq.sectors_recursive", "blkio.sectors_recursive"),
}


def flat(text: str) -> dict[str, int]:
    """A flat keyed file: `name number` a line. Lines of another form are left out."""
    result: dict[str, int] = {}
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if value.isdigit():
            result[name] = int(value)
    return result


def nested(text: str) -> dict[str, dict[str, int]]:
    """A nested keyed file (io.stat): `key name=number name=number` a line."""
    result: dict[str, dict[str, int]] = {}
    for line in text.splitlines():
        key, *pairs = line.split()
        values = (pair.partition("=") for pair in pairs)
        result[key] = {name: int(value) for name, _, value in values if value.isdigit()}
    return result


def amount(text: str) -> int | None:
    """A number, or None for `max` and for v1's number that means no limit."""
    text = text.strip()
    if not text.isdigit():
        return None
    value = int(text)
    return None if value >= _V1_UNLIMITED else value


def blkio_lines(text: str) -> list[dict[str, Any]]:
    """A v1 blkio file: `major:minor op value` or `major:minor value` a line; the sum line (`Total n`) is left out."""
    result: list[dict[str, Any]] = []
    for line in text.splitlines():
        device, _, rest = line.partition(" ")
        major, colon, minor = device.partition(":")
        op, _, value = rest.rpartition(" ")
        if colon and value.isdigit():
            result.append({"major": int(major), "minor": int(minor), "op": op, "value": int(value)})
    return result


def _hugetlb(directory: str | None, usage: str, peak: str, failures: str) -> dict[str, Any]:
    if directory is None:
        return {}
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return {}
    sizes = {name.split(".")[1] for name in names if name.startswith("hugetlb.") and name.endswith(usage)}
    result: dict[str, Any] = {}
    for size in sorted(sizes - {"rsvd"}):
        base = f"{directory}/hugetlb.{size}"
        failcnt = read_or(base + failures, "0")
        result[size] = {
            "usage": amount(read_or(base + usage, "0")) or 0,
            "max_usage": amount(read_or(base + peak, "0")) or 0,
            "failcnt": flat(failcnt).get("max", 0) if " " in failcnt else amount(failcnt) or 0,
        }
    return result


def v1_stats(directories: Mapping[str, str]) -> dict[str, Any]:
    """Stats of a v1 cgroup, given its directory in each controller's hierarchy."""

    def read(controller: str, file: str) -> str:
        directory = directories.get(controller)
        return "" if directory is None else read_or(f"{directory}/{file}", "")

    def number(controller: str, file: str) -> int:
        return amount(read(controller, file)) or 0

    account = flat(read("cpuacct", "cpuacct.stat"))
    throttle = flat(read("cpu", "cpu.stat"))
    user, system = (number("cpuacct", f"cpuacct.usage_{kind}") for kind in ("user", "sys"))
    return {
        "version": 1,
        "cpu": {
            "total_ns": number("cpuacct", "cpuacct.usage"),
            "percpu_ns": [int(one) for one in read("cpuacct", "cpuacct.usage_percpu").split()],
            "user_ns": user or account.get("user", 0) * _TICKS_NS,
            "system_ns": system or account.get("system", 0) * _TICKS_NS,
            "throttling": {
                "periods": throttle.get("nr_periods", 0),
                "throttled_periods": throttle.get("nr_throttled", 0),
                "throttled_ns": throttle.get("throttled_time", 0),
            },
        },
        "memory": {
            "usage": number("memory", "memory.usage_in_bytes"),
            "max_usage": number("memory", "memory.max_usage_in_bytes"),
            "limit": amount(read("memory", "memory.limit_in_bytes")),
            "failcnt": number("memory", "memory.failcnt"),
            "stats": flat(read("memory", "memory.stat")),
            "swap_usage": number("memory", "memory.memsw.usage_in_bytes"),
            "swap_limit": amount(read("memory", "memory.memsw.limit_in_bytes")),
        },
        "pids": {"current": number("pids", "pids.current"), "limit": amount(read("pids", "pids.max"))},
        "blkio": {
            name: next((rows for file in files if (rows := blkio_lines(read("blkio", file)))), [])
            for name, files in _V1_BLKIO.items()
        },
        "hugetlb": _hugetlb(directories.get("hugetlb"), ".usage_in_bytes", ".max_usage_in_bytes", ".failcnt"),
    }


def io_stat_lists(text: str) -> dict[str, list[dict[str, Any]]]:
    """v2's io.stat as Docker's recursive lists."""
    lists: dict[str, list[dict[str, Any]]] = {name: [] for name in _V1_BLKIO}
    for device, values in nested(text).items():
        major, colon, minor = device.partition(":")
        if not colon:
            continue  # "(unknown)"
        for name, words in (
            ("io_service_bytes_recursive", (("read", "rbytes"), ("write", "wbytes"))),
            ("io_serviced_recursive", (("read", "rios"), ("write", "wios"))),
        ):
            lists[name] += [
                {"major": int(major), "minor": int(minor), "op": op, "value": values.get(key, 0)} for op, key in words
            ]
    return lists


def v2_stats(directory: str) -> dict[str, Any]:
    """Stats of a v2 cgroup."""

    def read(file: str) -> str:
        return read_or(f"{directory}/{file}", "")

    cpu = flat(read("cpu.stat"))
    return {
        "version": 2,
        "cpu": {
            "total_ns": cpu.get("usage_usec", 0) * 1000,
            "percpu_ns": [],
            "user_ns": cpu.get("user_usec", 0) * 1000,
            "system_ns": cpu.get("system_usec", 0) * 1000,
            "throttling": {
                "periods": cpu.get("nr_periods", 0),
                "throttled_periods": cpu.get("nr_throttled", 0),
                "throttled_ns": cpu.get("throttled_usec", 0) * 1000,
            },
        },
        "memory": {
            "usage": amount(read("memory.current")) or 0,
            "max_usage": amount(read("memory.peak")),
            "limit": amount(read("memory.max")),
            "failcnt": flat(read("memory.events")).get("oom", 0),
            "stats": flat(read("memory.stat")),
            "swap_usage": amount(read("memory.swap.current")) or 0,
            "swap_limit": amount(read("memory.swap.max")),
        },
        "pids": {"current": amount(read("pids.current")) or 0, "limit": amount(read("pids.max"))},
        "blkio": io_stat_lists(read("io.stat")),
        "hugetlb": _hugetlb(directory, ".current", ".max_usage", ".events"),
    }
