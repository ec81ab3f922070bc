"""GET /containers/{id}/stats: what a container uses, from its cgroup and its network namespace. Daemon only.

Samples are taken in a thread. Interfaces are read in the init process's /proc/<pid>/net/dev, so that nothing enters the
container. Time of the whole host is uptime times processors: exact to the nanosecond where /proc/stat counts in
hundredths, so that a short interval is enough for a first percentage.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from msgspec import UNSET

from corten.engine import host
from corten.engine.containers.live import Container
from corten.engine.containers.logs import ContainerLookup
from corten.engine.containers.processes import ProcessTable, list_processes, own_processes
from corten.engine.events import Events
from corten.errors import Conflict
from corten.lib import blocking
from corten.lib.timestamps import rfc3339_nano
from corten.linux.cgroup import open_cgroup
from corten.spec.docker import messages
from corten.spec.docker.stats import (
    BlkioStats,
    ContainerStats,
    CpuStats,
    CpuUsage,
    MemoryStats,
    NetworkStats,
    PidsStats,
    Throttling,
)

_INTERVAL_S = 1.0
_FIRST_INTERVAL_S = 0.25
_UNLIMITED = 2**64 - 1


class StatsService:
    """Usage and processes of containers."""

    def __init__(self, *, containers: ContainerLookup, events: Events) -> None:
        self._containers = containers
        self._events = events

    async def once(self, reference: str, *, one_shot: bool) -> ContainerStats:
        """One sample: at once with `one_shot`, else after a second one, so that percentages can be computed."""
        container = self._containers.find(reference)
        first = await self._sample(container)
        if one_shot or not container.record.status.status.has_process:
            return first
        await asyncio.sleep(_FIRST_INTERVAL_S)
        return _after(first, await self._sample(container))

    def stream(self, reference: str) -> AsyncIterator[ContainerStats]:
        """A sample a second until the container is removed. Raises NotFound at once."""
        return self._stream(self._containers.find(reference))

    async def _stream(self, container: Container) -> AsyncIterator[ContainerStats]:
        previous: ContainerStats | None = None
        while not container.removed:
            sample = await self._sample(container)
            yield _after(previous, sample) if previous is not None else sample
            previous = sample
            await asyncio.sleep(_INTERVAL_S)

    async def _sample(self, container: Container) -> ContainerStats:
        record = container.record
        empty = ContainerStats(name=f"/{record.name}", id=record.id)
        if not record.status.status.has_process or not container.cgroup:
            return empty
        pid = record.status.pid if record.network_mode != "host" else 0
        return await blocking.run(_collect, empty, container.cgroup, pid)

    async def top(self, reference: str, ps_args: str) -> ProcessTable:
        """The processes of a running container, as ps(1) shows them on the host. Raises Conflict, InvalidArgument."""
        container = self._containers.find(reference)
        if not container.record.status.status.has_process:
            raise Conflict(messages.NOT_RUNNING.format(container.id))
        table = await blocking.run(list_processes, lambda: own_processes(open_cgroup(container.cgroup).pids()), ps_args)
        record = container.record
        attributes = {**record.labels, "image": record.config.image, "name": record.name}
        self._events.publish("container", "top", record.id, attributes)
        return table


def _collect(sample: ContainerStats, cgroup: str, pid: int) -> ContainerStats:
    """Fill a sample. A container that ends meanwhile leaves zeros."""
    with contextlib.suppress(OSError):
        fill(sample, open_cgroup(cgroup).stats())
        sample.read = rfc3339_nano(time.time_ns())
        if pid:
            with open(f"/proc/{pid}/net/dev", encoding="ascii", errors="replace") as file:
                sample.networks = parse_net_dev(file.read())
    return sample


def fill(sample: ContainerStats, stats: Mapping[str, Any]) -> None:
    """A cgroup's counters (corten.linux.cgroup.stats) in Docker's form."""
    cpu, memory, pids = stats["cpu"], stats["memory"], stats["pids"]
    v1 = stats["version"] == 1
    throttling = cpu["throttling"]
    processors = os.cpu_count() or 1
    sample.cpu_stats = CpuStats(
        cpu_usage=CpuUsage(
            total_usage=cpu["total_ns"],
            percpu_usage=cpu["percpu_ns"] if v1 else UNSET,
            usage_in_kernelmode=cpu["system_ns"],
            usage_in_usermode=cpu["user_ns"],
        ),
        system_cpu_usage=time.clock_gettime_ns(time.CLOCK_BOOTTIME) * processors,
        online_cpus=processors,
        throttling_data=Throttling(
            periods=throttling["periods"],
            throttled_periods=throttling["throttled_periods"],
            throttled_time=throttling["throttled_ns"],
        ),
    )
    total = host.memory_total()
    limit = memory["limit"]
    sample.memory_stats = MemoryStats(
        usage=memory["usage"],
        max_usage=memory["max_usage"] if v1 else UNSET,
        stats=memory["stats"],
        failcnt=memory["failcnt"] if v1 else UNSET,
        limit=total if limit is None else min(limit, total),
    )
    pids_limit = pids["limit"]
    sample.pids_stats = PidsStats(
        current=pids["current"], limit=pids_limit if pids_limit is not None else UNSET if v1 else _UNLIMITED
    )
    sample.blkio_stats = BlkioStats(**{name: rows if rows or v1 else None for name, rows in stats["blkio"].items()})


def parse_net_dev(text: str) -> dict[str, NetworkStats]:
    """The interfaces of proc_pid_net(5)'s dev, the loopback left out."""
    networks: dict[str, NetworkStats] = {}
    for line in text.splitlines()[2:]:
        name, _, rest = line.partition(":")
        numbers = [int(word) for word in rest.split() if word.isdigit()]
        if name.strip() == "lo" or len(numbers) < 12:
            continue
        networks[name.strip()] = NetworkStats(
            rx_bytes=numbers[0],
            rx_packets=numbers[1],
            rx_errors=numbers[2],
            rx_dropped=numbers[3],
            tx_bytes=numbers[8],
            tx_packets=numbers[9],
            tx_errors=numbers[10],
            tx_dropped=numbers[11],
        )
    return networks


def _after(previous: ContainerStats, sample: ContainerStats) -> ContainerStats:
    sample.preread = previous.read
    sample.precpu_stats = previous.cpu_stats
    return sample
