"""Docker's wire types for GET /containers/{id}/stats. Pure. Source: Docker Engine API 1.24 to 1.50."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

ZERO = "0001-01-01T00:00:00Z"  # Go's zero time


class CpuUsage(msgspec.Struct, kw_only=True):
    """Nanoseconds."""

    total_usage: int = 0
    percpu_usage: list[int] | UnsetType = UNSET
    usage_in_kernelmode: int = 0
    usage_in_usermode: int = 0


class Throttling(msgspec.Struct, kw_only=True):
    """How often the quota held the container back."""

    periods: int = 0
    throttled_periods: int = 0
    throttled_time: int = 0


class CpuStats(msgspec.Struct, kw_only=True):
    """A sample of processor time; `system_cpu_usage` is that of the whole host."""

    cpu_usage: CpuUsage = msgspec.field(default_factory=CpuUsage)
    system_cpu_usage: int | UnsetType = UNSET
    online_cpus: int | UnsetType = UNSET
    throttling_data: Throttling = msgspec.field(default_factory=Throttling)


class MemoryStats(msgspec.Struct, kw_only=True):
    """Bytes; `stats` is memory.stat."""

    usage: int | UnsetType = UNSET
    max_usage: int | UnsetType = UNSET
    stats: dict[str, int] | UnsetType = UNSET
    failcnt: int | UnsetType = UNSET
    limit: int | UnsetType = UNSET


class PidsStats(msgspec.Struct, kw_only=True):
    """Numbers of processes."""

    current: int | UnsetType = UNSET
    limit: int | UnsetType = UNSET


class NetworkStats(msgspec.Struct, kw_only=True):
    """Counters of one interface."""

    rx_bytes: int
    rx_packets: int
    rx_errors: int
    rx_dropped: int
    tx_bytes: int
    tx_packets: int
    tx_errors: int
    tx_dropped: int


class BlkioStats(msgspec.Struct, kw_only=True):
    """Block I/O; null where the kernel counts nothing."""

    io_service_bytes_recursive: list[dict[str, Any]] | None = None
    io_serviced_recursive: list[dict[str, Any]] | None = None
    io_queue_recursive: list[dict[str, Any]] | None = None
    io_service_time_recursive: list[dict[str, Any]] | None = None
    io_wait_time_recursive: list[dict[str, Any]] | None = None
    io_merged_recursive: list[dict[str, Any]] | None = None
    io_time_recursive: list[dict[str, Any]] | None = None
    sectors_recursive: list[dict[str, Any]] | None = None


class ContainerStats(msgspec.Struct, kw_only=True):
    """One sample, and the processor's part of the one before."""

    name: str
    id: str
    read: str = ZERO
    preread: str = ZERO
    pids_stats: PidsStats = msgspec.field(default_factory=PidsStats)
    blkio_stats: BlkioStats = msgspec.field(default_factory=BlkioStats)
    num_procs: int = 0
    storage_stats: dict[str, int] = {}
    cpu_stats: CpuStats = msgspec.field(default_factory=CpuStats)
    precpu_stats: CpuStats = msgspec.field(default_factory=CpuStats)
    memory_stats: MemoryStats = msgspec.field(default_factory=MemoryStats)
    networks: dict[str, NetworkStats] | UnsetType = UNSET
