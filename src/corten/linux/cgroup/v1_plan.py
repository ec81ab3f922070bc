"""OCI `linux.resources` -> writes to cgroup v1 files. Pure. Facts: Documentation/admin-guide/cgroup-v1/*.rst,
Documentation/scheduler/sched-bwc.rst, OCI runtime-spec config-linux.md "Control groups". Devices are in devices.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from corten.errors import InvalidArgument
from corten.linux.cgroup.plan import Group, LimitUnsupported, Write, entries, integer, limit, name_part, one, section

_THROTTLES = (
    ("throttleReadBpsDevice", "blkio.throttle.read_bps_device"),
    ("throttleWriteBpsDevice", "blkio.throttle.write_bps_device"),
    ("throttleReadIOPSDevice", "blkio.throttle.read_iops_device"),
    ("throttleWriteIOPSDevice", "blkio.throttle.write_iops_device"),
)


def v1_plan(resources: Mapping[str, Any]) -> list[Group]:
    """The writes that the resources ask for. Raises InvalidArgument, LimitUnsupported."""
    if resources.get("unified"):
        raise LimitUnsupported("cannot set resources.unified: this machine uses cgroup v1")
    return [
        *_cpu(section(resources, "cpu")),
        *_memory(section(resources, "memory")),
        *_pids(section(resources, "pids")),
        *_blkio(section(resources, "blockIO")),
        *_others(resources),
    ]


def _cpu(cpu: Mapping[str, Any]) -> list[Group]:
    plan: list[Group] = []
    for name, file in (("cpus", "cpuset.cpus"), ("mems", "cpuset.mems")):
        if cpu.get(name):
            plan.append(one("cpuset", file, cpu[name], f"cpuset {name}"))
    if shares := integer(cpu, "shares"):
        plan.append(one("cpu", "cpu.shares", shares, "CPU shares"))
    bandwidth: Group = []
    for name, file in (
        ("period", "cpu.cfs_period_us"),
        ("quota", "cpu.cfs_quota_us"),
        ("burst", "cpu.cfs_burst_us"),
    ):
        value = integer(cpu, name)
        if value or (value is not None and name == "burst"):
            bandwidth += one("cpu", file, value, f"CPU {name}")
    realtime: Group = []
    for name, file in (("realtimePeriod", "cpu.rt_period_us"), ("realtimeRuntime", "cpu.rt_runtime_us")):
        if value := integer(cpu, name):
            realtime += one("cpu", file, value, f"CPU {name}")
    if (idle := integer(cpu, "idle")) is not None:
        plan.append(one("cpu", "cpu.idle", idle, "CPU idle", optional=idle == 0))
    return plan + [group for group in (bandwidth, realtime) if group]


def _memory(memory: Mapping[str, Any]) -> list[Group]:
    amount, swap = integer(memory, "limit"), integer(memory, "swap")
    if amount == -1 and not swap:
        swap = -1  # memory without a limit can have none on memory+swap
    pair: Group = []
    if amount:
        pair += one("memory", "memory.limit_in_bytes", amount, "memory limit", optional=amount < 0)
    if swap:
        pair += one("memory", "memory.memsw.limit_in_bytes", swap, "memory+swap limit", optional=swap < 0)
    plan = [pair] if pair else []
    if reservation := integer(memory, "reservation"):
        plan.append(one("memory", "memory.soft_limit_in_bytes", reservation, "memory reservation"))
    if tcp := integer(memory, "kernelTCP"):
        plan.append(one("memory", "memory.kmem.tcp.limit_in_bytes", tcp, "kernel TCP memory limit"))
    # `kernel` is not written: the kernel gave it up in 5.16, and OCI runtimes ignore it.
    swappiness = integer(memory, "swappiness")
    if swappiness is not None and swappiness >= 0:
        if swappiness > 100:
            raise InvalidArgument(f"invalid memory swappiness {swappiness}: must be 0 to 100")
        plan.append(one("memory", "memory.swappiness", swappiness, "memory swappiness"))
    if memory.get("disableOOMKiller"):
        plan.append(one("memory", "memory.oom_control", 1, "OOM killer"))
    return plan


def _pids(pids: Mapping[str, Any]) -> list[Group]:
    amount = integer(pids, "limit")
    if not amount:
        return []
    return [one("pids", "pids.max", limit(amount), "pids limit", optional=amount < 0)]


def device_line(entry: Mapping[str, Any], value: object) -> str:
    """`MAJOR:MINOR VALUE`, the form of per-device limits."""
    major, minor = integer(entry, "major", low=0), integer(entry, "minor", low=0)
    if major is None or minor is None:
        raise InvalidArgument(f"a block I/O limit names no device: {dict(entry)!r}")
    return f"{major}:{minor} {value}"


def _weight(kind: str, value: str, what: str) -> Group:
    # The CFQ scheduler's names went away in 5.0, BFQ's have its own prefix.
    return [Write("blkio", ((f"blkio.{kind}", value), (f"blkio.bfq.{kind}", value)), what)]


def _blkio(blkio: Mapping[str, Any]) -> list[Group]:
    plan: list[Group] = []
    for name, kind in (("weight", "weight"), ("leafWeight", "leaf_weight")):
        if weight := integer(blkio, name, low=0):
            plan.append(_weight(kind, str(weight), f"block I/O {name}"))
    for entry in entries(blkio, "weightDevice"):
        for name, kind in (("weight", "weight_device"), ("leafWeight", "leaf_weight_device")):
            if weight := integer(entry, name, low=0):
                plan.append(_weight(kind, device_line(entry, weight), f"block I/O {name} of a device"))
    for name, file in _THROTTLES:
        for entry in entries(blkio, name):
            rate = integer(entry, "rate", low=0) or 0
            plan.append(one("blkio", file, device_line(entry, rate), f"block I/O limit {name}"))
    return plan


def _others(resources: Mapping[str, Any]) -> list[Group]:
    plan: list[Group] = []
    for entry in entries(resources, "hugepageLimits"):
        size, amount = name_part(entry.get("pageSize"), "huge page size"), integer(entry, "limit", low=0) or 0
        plan.append(one("hugetlb", f"hugetlb.{size}.limit_in_bytes", amount, "huge page limit"))
        reserved = f"hugetlb.{size}.rsvd.limit_in_bytes"
        plan.append(one("hugetlb", reserved, amount, "huge page limit", optional=True))
    plan += rdma_plan(section(resources, "rdma"))
    network = section(resources, "network")
    if class_id := integer(network, "classID", low=0):
        plan.append(one("net_cls", "net_cls.classid", class_id, "network class"))
    for entry in entries(network, "priorities"):
        interface = name_part(entry.get("name"), "interface name")
        value = f"{interface} {integer(entry, 'priority', low=0) or 0}"
        plan.append(one("net_prio", "net_prio.ifpriomap", value, "network priority"))
    return plan


def rdma_plan(rdma: Mapping[str, Any]) -> list[Group]:
    """RDMA limits, written the same way in v1 and v2 (Documentation/admin-guide/cgroup-v1/rdma.rst)."""
    plan: list[Group] = []
    for device, limits in rdma.items():
        words = [name_part(device, "RDMA device")]
        for name, word in (("hcaHandles", "hca_handle"), ("hcaObjects", "hca_object")):
            if (amount := integer(limits, name, low=0)) is not None:
                words.append(f"{word}={amount}")
        plan.append(one("rdma", "rdma.max", " ".join(words), "RDMA limit"))
    return plan
