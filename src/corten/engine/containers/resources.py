"""HostConfig's limits: Docker's validation, and the translation to OCI `linux.resources`. Daemon.

Pure but for device numbers and the machine's processors, which are read. Rules and texts are those of dockerd.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from typing import Any

from corten.errors import InvalidArgument
from corten.spec.docker.hostconfig import HostConfig, Resources, ThrottleDevice, Ulimit, WeightDevice

_MIN_MEMORY = 6 << 20
_PERIOD_US = 100_000
_NANO = 1_000_000_000
_LIMITS = frozenset(
    [
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
        "as",
    ]
)
_SET = re.compile(r"[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*\Z")
_MAX_CPU = 4096


def check_resources(resources: Resources, *, cpus: int, updating: bool = False) -> None:
    """Refuse limits that cannot work. Raises InvalidArgument with Docker's texts."""
    _check_memory(resources, updating=updating)
    _check_cpu(resources, cpus)
    if resources.pids_limit is not None and resources.pids_limit < -1:
        raise InvalidArgument(f"invalid PIDs limit: {resources.pids_limit}")
    if resources.blkio_weight and not 10 <= resources.blkio_weight <= 1000:
        raise InvalidArgument("Range of blkio weight is from 10 to 1000")
    for device in resources.blkio_weight_device or ():
        if not 10 <= device.weight <= 1000:
            raise InvalidArgument(f"Range of blkio weight is from 10 to 1000: {device.path}")
    for limit in resources.ulimits or ():
        _check_ulimit(limit)
    for rule in resources.device_cgroup_rules or ():
        parse_device_rule(rule)


def _check_memory(wanted: Resources, *, updating: bool) -> None:
    if wanted.memory and wanted.memory != -1 and wanted.memory < _MIN_MEMORY:
        raise InvalidArgument("Minimum memory limit allowed is 6MB")
    if wanted.memory > 0 and 0 < wanted.memory_swap < wanted.memory:
        raise InvalidArgument("Minimum memoryswap limit should be larger than memory limit, see usage")
    if wanted.memory == 0 and wanted.memory_swap > 0 and not updating:
        raise InvalidArgument("You should always set the Memory limit when using Memoryswap limit, see usage")
    swappiness = wanted.memory_swappiness
    if swappiness is not None and not -1 <= swappiness <= 100:
        raise InvalidArgument(f"Invalid value: {swappiness}, valid memory swappiness range is 0-100")
    if wanted.memory_reservation and wanted.memory_reservation < _MIN_MEMORY:
        raise InvalidArgument("Minimum memory reservation allowed is 6MB")
    if 0 < wanted.memory < wanted.memory_reservation:
        raise InvalidArgument("Minimum memory limit can not be less than memory reservation limit, see usage")


def _check_cpu(wanted: Resources, cpus: int) -> None:
    if wanted.nano_cpus and wanted.cpu_period:
        raise InvalidArgument("Conflicting options: Nano CPUs and CPU Period cannot both be set")
    if wanted.nano_cpus and wanted.cpu_quota:
        raise InvalidArgument("Conflicting options: Nano CPUs and CPU Quota cannot both be set")
    if wanted.nano_cpus < 0 or wanted.nano_cpus > cpus * _NANO or 0 < wanted.nano_cpus < _NANO // 100:
        raise InvalidArgument(f"Range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available")
    if wanted.cpu_shares < 0:
        raise InvalidArgument(f"invalid CPU shares ({wanted.cpu_shares}): value must be a positive integer")
    if wanted.cpu_period and not 1000 <= wanted.cpu_period <= 1_000_000:
        raise InvalidArgument("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
    if 0 < wanted.cpu_quota < 1000:
        raise InvalidArgument("CPU cfs quota can not be less than 1ms (i.e. 1000)")
    for text, what in ((wanted.cpuset_cpus, "cpus"), (wanted.cpuset_mems, "mems")):
        if text:
            _check_set(text, what, cpus)


def _check_set(text: str, what: str, cpus: int) -> None:
    if len(text) > 512 or not _SET.match(text):
        raise InvalidArgument(f"Invalid value {text[:64]} for cpuset {what}")
    highest = max(int(number[:9]) for number in re.findall(r"[0-9]+", text))
    if highest >= _MAX_CPU:
        raise InvalidArgument(f"Invalid value {text[:64]} for cpuset {what}")
    if what == "cpus" and highest >= cpus:
        raise InvalidArgument(f"Requested CPUs are not available - requested {text}, available: 0-{cpus - 1}")


def _check_ulimit(limit: Ulimit) -> None:
    if limit.name not in _LIMITS:
        raise InvalidArgument(f"invalid ulimit type: {limit.name[:64]}")
    if limit.hard != -1 and (limit.soft == -1 or limit.soft > limit.hard):
        raise InvalidArgument(
            f"ulimit soft limit must be less than or equal to hard limit: {limit.soft} > {limit.hard}"
        )


def parse_device_rule(text: str) -> dict[str, Any]:
    """`c 1:11 rwm` as an OCI device rule. Raises InvalidArgument with Docker's text."""
    match = re.fullmatch(r"([acb]) ([0-9]{1,9}|\*):([0-9]{1,9}|\*) ([rwm]{1,3})", text)
    if match is None:
        raise InvalidArgument(f"invalid device cgroup rule format: '{text[:64]}'")
    rule: dict[str, Any] = {"allow": True, "type": match[1], "access": match[4]}
    if match[2] != "*":
        rule["major"] = int(match[2])
    if match[3] != "*":
        rule["minor"] = int(match[3])
    return rule


def fill_defaults(host: HostConfig) -> None:
    """What Docker writes into a HostConfig that leaves limits open."""
    if host.memory > 0 and host.memory_swap == 0:
        host.memory_swap = host.memory * 2
    if host.oom_kill_disable is None:
        host.oom_kill_disable = False
    if host.memory_swappiness == -1:
        host.memory_swappiness = None


def oci_resources(wanted: Resources, *, default_pids: int = 0) -> dict[str, Any]:
    """OCI `linux.resources` (without devices) for limits; zero values are left out. Raises InvalidArgument."""
    result: dict[str, Any] = {}
    if memory := _memory(wanted):
        result["memory"] = memory
    if cpu := _cpu(wanted):
        result["cpu"] = cpu
    pids = wanted.pids_limit
    if pids is None:
        pids = default_pids
    elif pids == 0:
        pids = -1
    if pids:
        result["pids"] = {"limit": pids}
    if block := _block_io(wanted):
        result["blockIO"] = block
    return result


def _memory(wanted: Resources) -> dict[str, Any]:
    values = {"limit": wanted.memory, "swap": wanted.memory_swap, "reservation": wanted.memory_reservation}
    memory: dict[str, Any] = {name: value for name, value in values.items() if value}
    if wanted.memory_swappiness is not None and wanted.memory_swappiness >= 0:
        memory["swappiness"] = wanted.memory_swappiness
    if wanted.oom_kill_disable:
        memory["disableOOMKiller"] = True
    return memory


def _cpu(wanted: Resources) -> dict[str, Any]:
    period, quota = wanted.cpu_period, wanted.cpu_quota
    if wanted.nano_cpus:
        period, quota = _PERIOD_US, wanted.nano_cpus * _PERIOD_US // _NANO
    values = {
        "shares": wanted.cpu_shares,
        "period": period,
        "quota": quota,
        "realtimePeriod": wanted.cpu_realtime_period,
        "realtimeRuntime": wanted.cpu_realtime_runtime,
        "cpus": wanted.cpuset_cpus,
        "mems": wanted.cpuset_mems,
    }
    return {name: value for name, value in values.items() if value}


def _block_io(wanted: Resources) -> dict[str, Any]:
    block: dict[str, Any] = {}
    if wanted.blkio_weight:
        block["weight"] = wanted.blkio_weight
    if wanted.blkio_weight_device:
        block["weightDevice"] = [{**_numbers(device), "weight": device.weight} for device in wanted.blkio_weight_device]
    for name, devices in (
        ("throttleReadBpsDevice", wanted.blkio_device_read_bps),
        ("throttleWriteBpsDevice", wanted.blkio_device_write_bps),
        ("throttleReadIOPSDevice", wanted.blkio_device_read_iops),
        ("throttleWriteIOPSDevice", wanted.blkio_device_write_iops),
    ):
        if devices:
            block[name] = [{**_numbers(device), "rate": device.rate} for device in devices]
    return block


def _numbers(device: WeightDevice | ThrottleDevice) -> dict[str, int]:
    try:
        status = os.stat(device.path)
    except (OSError, ValueError) as error:
        raise InvalidArgument(f'invalid device "{device.path[:128]}": {error}') from error
    if not stat.S_ISBLK(status.st_mode):
        raise InvalidArgument(f'invalid device "{device.path[:128]}": not a block device')
    return {"major": os.major(status.st_rdev), "minor": os.minor(status.st_rdev)}


def rlimits(own: Sequence[Ulimit] | None, defaults: Sequence[Ulimit]) -> list[dict[str, Any]]:
    """OCI `process.rlimits`: the container's, and the daemon's defaults where it has none."""
    merged = {limit.name: limit for limit in [*defaults, *(own or ())]}
    unlimited = 2**64 - 1
    return [
        {
            "type": f"RLIMIT_{limit.name.upper()}",
            "hard": unlimited if limit.hard == -1 else limit.hard,
            "soft": unlimited if limit.soft == -1 else limit.soft,
        }
        for limit in merged.values()
    ]
