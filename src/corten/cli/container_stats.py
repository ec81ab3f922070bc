"""Figures of `stats` from the API's samples: CPU and memory in per cent, what was read, written, sent, received."""

from __future__ import annotations

from corten.cli.human_size import binary_size, human_size
from corten.cli.shortening import short_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from corten.cli.table_output import Column

TABLE = "{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}"
_NONE = "--"


class Sample:
    """The newest figures of a container; `valid` once there are some."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.valid = False
        self.data: dict[str, Any] = {}

    def update(self, data: dict[str, Any]) -> None:
        """Take a sample of the API."""
        self.data = data
        self.valid = True

    def label(self) -> str:
        """The container's name without its slash."""
        return str(self.data.get("name") or "").removeprefix("/") if self.valid else ""


def cpu_percent(data: dict[str, Any]) -> float:
    """Of one CPU: two of them busy are 200."""
    now, before = data.get("cpu_stats") or {}, data.get("precpu_stats") or {}
    used = _usage(now) - _usage(before)
    system = (now.get("system_cpu_usage") or 0) - (before.get("system_cpu_usage") or 0)
    cpus = now.get("online_cpus") or len((now.get("cpu_usage") or {}).get("percpu_usage") or ())
    return used / system * cpus * 100 if system > 0 and used > 0 else 0.0


def _usage(part: dict[str, Any]) -> int:
    return int((part.get("cpu_usage") or {}).get("total_usage") or 0)


def memory_used(data: dict[str, Any]) -> int:
    """Without the page cache that can be dropped: total_inactive_file of cgroup v1, inactive_file of v2."""
    memory = data.get("memory_stats") or {}
    usage = int(memory.get("usage") or 0)
    details = memory.get("stats") or {}
    for field in ("total_inactive_file", "inactive_file"):
        if field in details:
            cache = int(details[field])
            return usage - cache if cache < usage else usage
    return usage


def memory_percent(data: dict[str, Any]) -> float:
    """Of the limit."""
    limit = (data.get("memory_stats") or {}).get("limit") or 0
    return memory_used(data) / limit * 100 if limit else 0.0


def _network(data: dict[str, Any]) -> str:
    interfaces = (data.get("networks") or {}).values()
    received = sum(one.get("rx_bytes", 0) for one in interfaces)
    sent = sum(one.get("tx_bytes", 0) for one in interfaces)
    return f"{human_size(received)} / {human_size(sent)}"


def _block(data: dict[str, Any]) -> str:
    totals = {"read": 0, "write": 0}
    for entry in (data.get("blkio_stats") or {}).get("io_service_bytes_recursive") or []:
        kind = str(entry.get("op", "")).lower()
        if kind in totals:
            totals[kind] += entry.get("value", 0)
    return f"{human_size(totals['read'])} / {human_size(totals['write'])}"


def _memory(data: dict[str, Any]) -> str:
    limit = (data.get("memory_stats") or {}).get("limit") or 0
    return f"{binary_size(memory_used(data))} / {binary_size(limit)}"


COLUMNS: dict[str, Column] = {
    "Container": ("CONTAINER", lambda item: item.name),
    "ID": ("CONTAINER ID", lambda item: short_id(item.data.get("id") or item.name)),
    "Name": ("NAME", lambda item: item.label() or _NONE),
    "CPUPerc": ("CPU %", lambda item: f"{cpu_percent(item.data):.2f}%" if item.valid else _NONE),
    "MemUsage": ("MEM USAGE / LIMIT", lambda item: _memory(item.data) if item.valid else f"{_NONE} / {_NONE}"),
    "MemPerc": ("MEM %", lambda item: f"{memory_percent(item.data):.2f}%" if item.valid else _NONE),
    "NetIO": ("NET I/O", lambda item: _network(item.data) if item.valid else _NONE),
    "BlockIO": ("BLOCK I/O", lambda item: _block(item.data) if item.valid else _NONE),
    "PIDs": (
        "PIDS",
        lambda item: str((item.data.get("pids_stats") or {}).get("current") or 0) if item.valid else _NONE,
    ),
}


def full_columns() -> dict[str, Column]:
    """With whole IDs."""
    return {**COLUMNS, "ID": ("CONTAINER ID", lambda item: item.data.get("id") or item.name)}
