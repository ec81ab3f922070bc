"""OCI `linux.resources` -> writes to cgroup v2 files, with the conversions that OCI runtimes agree on. Pure.

Facts: Documentation/admin-guide/cgroup-v2.rst; the conversion of CPU shares is the one of runc 1.3.2 and crun 1.23,
which maps the default 1024 to the default weight 100 (the older linear one gave 39).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from corten.errors import InvalidArgument
from corten.linux.cgroup.plan import Group, LimitUnsupported, Write, entries, integer, limit, name_part, one, section
from corten.linux.cgroup.v1_plan import device_line, rdma_plan

_THROTTLES = (
    ("throttleReadBpsDevice", "rbps"),
    ("throttleWriteBpsDevice", "wbps"),
    ("throttleReadIOPSDevice", "riops"),
    ("throttleWriteIOPSDevice", "wiops"),
)


def cpu_weight(shares: int) -> int:
    """`cpu.weight` (1..10000) of v1 `cpu.shares` (2..262144), so that both ends and the defaults meet."""
    if shares <= 2:
        return 1
    if shares >= 262144:
        return 10000
    log = math.log2(shares)
    # The tiny subtraction keeps rounding errors of the exact points (1024 -> 100) from lifting them by one.
    return math.ceil(10 ** ((log * log + 125 * log) / 612 - 7 / 34) - 1e-9)


def io_weight(weight: int) -> int:
    """`io.weight` (1..10000) of v1 `blkio.weight` (10..1000)."""
    return max(1, 1 + (weight - 10) * 9999 // 990)


def swap_max(memory: int | None, swap: int | None) -> int | None:
    """`memory.swap.max` of OCI's memory+swap `swap`; -1 is no limit, None leaves it alone. Raises InvalidArgument."""
    if not swap and memory == -1:
        return -1  # memory without a limit: none on swap either
    if not swap or swap == -1:
        return swap or None
    if not memory:
        raise InvalidArgument("unable to set swap limit without memory limit")
    if memory < 0:
        raise InvalidArgument("unable to set swap limit while memory is unlimited")
    if swap < memory:
        raise InvalidArgument("memory+swap limit should be >= memory limit")
    return swap - memory


def v2_plan(resources: Mapping[str, Any], *, cpu_max: str = "max 100000") -> list[Group]:
    """The writes that the resources ask for. `cpu_max` is the present content of cpu.max, for a period without quota.

    Raises InvalidArgument, LimitUnsupported.
    """
    return [
        *_cpu(section(resources, "cpu"), cpu_max),
        *_memory(section(resources, "memory")),
        *_pids(section(resources, "pids")),
        *_io(section(resources, "blockIO")),
        *_others(resources),
        *_unified(section(resources, "unified")),
    ]


def _cpu(cpu: Mapping[str, Any], cpu_max: str) -> list[Group]:
    plan: list[Group] = []
    plan += [one("cpuset", f"cpuset.{name}", cpu[name], f"cpuset {name}") for name in ("cpus", "mems") if cpu.get(name)]
    idle = integer(cpu, "idle")
    if idle is not None:
        plan.append(one("cpu", "cpu.idle", idle, "CPU idle", optional=idle == 0))
    if (shares := integer(cpu, "shares")) and not idle:  # an idle group has no weight
        plan.append(one("cpu", "cpu.weight", cpu_weight(shares), "CPU shares"))
    quota, period, burst = (integer(cpu, name) for name in ("quota", "period", "burst"))
    bandwidth: Group = []
    if quota or period:
        words = [limit(quota) if quota else cpu_max.split(maxsplit=1)[0]]
        if period:
            words.append(str(period))
        bandwidth += one("cpu", "cpu.max", " ".join(words), "CPU quota", optional=quota == -1)
    if burst is not None:
        bandwidth += one("cpu", "cpu.max.burst", burst, "CPU burst", optional=burst == 0)
    if bandwidth:
        plan.append(bandwidth)
    if integer(cpu, "realtimePeriod") or integer(cpu, "realtimeRuntime"):
        raise LimitUnsupported("cannot set CPU real-time limits: cgroup v2 has none")
    return plan


def _memory(memory: Mapping[str, Any]) -> list[Group]:
    amount = integer(memory, "limit")
    plan: list[Group] = []
    swap = swap_max(amount, integer(memory, "swap"))
    if swap is not None:
        # A kernel without swap has no memory.swap.max, and then 0 and "max" are what it does anyway.
        plan.append(one("memory", "memory.swap.max", limit(swap), "swap limit", optional=swap <= 0))
    if amount:
        plan.append(one("memory", "memory.max", limit(amount), "memory limit", optional=amount < 0))
    if reservation := integer(memory, "reservation"):
        plan.append(one("memory", "memory.low", limit(reservation), "memory reservation"))
    swappiness = integer(memory, "swappiness")
    if swappiness is not None and swappiness >= 0:
        raise LimitUnsupported("cannot set memory swappiness: cgroup v2 has none")
    if memory.get("disableOOMKiller"):
        raise LimitUnsupported("cannot disable the OOM killer: cgroup v2 has no such setting")
    return plan


def _pids(pids: Mapping[str, Any]) -> list[Group]:
    amount = integer(pids, "limit")
    return [one("pids", "pids.max", limit(amount), "pids limit", optional=amount < 0)] if amount else []


def _weight(bfq: str, cost: str) -> Group:
    # BFQ keeps v1's range of weights; io.weight has its own.
    return [Write("io", (("io.bfq.weight", bfq), ("io.weight", cost)), "block I/O weight")]


def _io(blkio: Mapping[str, Any]) -> list[Group]:
    plan: list[Group] = []
    if weight := integer(blkio, "weight", low=0):
        plan.append(_weight(str(weight), f"default {io_weight(weight)}"))
    plan += [
        _weight(device_line(entry, weight), device_line(entry, io_weight(weight)))
        for entry in entries(blkio, "weightDevice")
        if (weight := integer(entry, "weight", low=0))
    ]
    for name, word in _THROTTLES:
        for entry in entries(blkio, name):
            rate = integer(entry, "rate", low=0) or 0
            value = f"{word}={rate or 'max'}"
            plan.append(one("io", "io.max", device_line(entry, value), f"block I/O limit {name}"))
    return plan


def _others(resources: Mapping[str, Any]) -> list[Group]:
    plan: list[Group] = []
    for entry in entries(resources, "hugepageLimits"):
        size, amount = name_part(entry.get("pageSize"), "huge page size"), integer(entry, "limit", low=0) or 0
        plan.append(one("hugetlb", f"hugetlb.{size}.max", amount, "huge page limit"))
        plan.append(one("hugetlb", f"hugetlb.{size}.rsvd.max", amount, "huge page limit", optional=True))
    plan += rdma_plan(section(resources, "rdma"))
    network = section(resources, "network")
    if network.get("classID") or network.get("priorities"):
        raise LimitUnsupported("cannot set network class or priorities: cgroup v2 has none")
    return plan


def _unified(unified: Mapping[str, Any]) -> list[Group]:
    plan: list[Group] = []
    for name, value in unified.items():
        controller, dot, _ = name_part(name, "unified resource").partition(".")
        if not dot or controller == "cgroup":
            # cgroup.procs, cgroup.subtree_control... would move processes or undo what Corten relies on.
            raise InvalidArgument(f"invalid unified resource {name!r}: must be CONTROLLER.FILE")
        plan += [one(controller, name, line, f"unified resource {name}") for line in str(value).splitlines() or [""]]
    return plan
