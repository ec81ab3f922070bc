"""`corten update`."""

from __future__ import annotations

import sys

from corten.cli.command import Call, Command
from corten.cli.create.body import restart_policy
from corten.cli.create.options import OPTIONS
from corten.cli.each import for_each
from corten.cli.errors import CliError
from corten.cli.option import Option
from corten.client.query import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_FIELDS = {
    "blkio-weight": "BlkioWeight",
    "cpu-period": "CpuPeriod",
    "cpu-quota": "CpuQuota",
    "cpu-rt-period": "CpuRealtimePeriod",
    "cpu-rt-runtime": "CpuRealtimeRuntime",
    "cpu-shares": "CpuShares",
    "cpus": "NanoCpus",
    "cpuset-cpus": "CpusetCpus",
    "cpuset-mems": "CpusetMems",
    "memory": "Memory",
    "memory-reservation": "MemoryReservation",
    "memory-swap": "MemorySwap",
    "pids-limit": "PidsLimit",
}


def update(call: Call) -> None:
    """Change each container."""
    values = call.values
    body: dict[str, Any] = {field: values[name] for name, field in _FIELDS.items() if values.given(name)}
    if values.given("restart"):
        body["RestartPolicy"] = restart_policy(values["restart"])
    if not body:
        raise CliError("you must provide one or more flags when using this command")
    warnings: list[str] = []

    def act(name: str) -> None:
        answer = call.client.call("POST", f"/containers/{quote(name)}/update", body=body)
        warnings.extend((answer or {}).get("Warnings") or [])

    for_each(call.arguments, act)
    if warnings:
        sys.stdout.write("\n".join(warnings) + "\n")


COMMAND = Command(
    "[OPTIONS] CONTAINER [CONTAINER...]",
    update,
    (
        *(option for option in OPTIONS if option.long in _FIELDS),
        Option("--restart", "string", "When to start the container again"),
    ),
    least=1,
    most=None,
)
