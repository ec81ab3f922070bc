"""update: change a container's resource limits."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from corten.runtime.oci.state import Lock, OciError, load

# flag: (section, name) of linux.resources
FLAGS = {
    "blkio_weight": ("blockIO", "weight"),
    "cpu_period": ("cpu", "period"),
    "cpu_quota": ("cpu", "quota"),
    "cpu_burst": ("cpu", "burst"),
    "cpu_share": ("cpu", "shares"),
    "cpu_rt_period": ("cpu", "realtimePeriod"),
    "cpu_rt_runtime": ("cpu", "realtimeRuntime"),
    "cpu_idle": ("cpu", "idle"),
    "cpuset_cpus": ("cpu", "cpus"),
    "cpuset_mems": ("cpu", "mems"),
    "memory": ("memory", "limit"),
    "memory_reservation": ("memory", "reservation"),
    "memory_swap": ("memory", "swap"),
    "pids_limit": ("pids", "limit"),
}
_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def parse_size(text: str) -> int:
    """Bytes of "512m", "-1" or "1048576". Raises OciError."""
    number = text.strip().lower().removesuffix("b")
    unit = number[-1:] if number[-1:].isalpha() else ""
    try:
        return int(number.removesuffix(unit)) * _UNITS[unit]
    except (ValueError, KeyError):
        raise OciError(f"invalid size: {text!r}") from None


def changes(arguments: argparse.Namespace) -> dict[str, Any]:
    """linux.resources of what the flags, or the JSON given with --resources, ask for."""
    if arguments.resources:
        if arguments.resources == "-":
            resources = json.load(sys.stdin)
        else:
            with open(arguments.resources, encoding="utf-8") as file:
                resources = json.load(file)
        if not isinstance(resources, dict):
            raise OciError("resources must be a JSON object")
        return resources
    result: dict[str, Any] = {}
    for flag, (section, name) in FLAGS.items():
        given = getattr(arguments, flag)
        if given is None:
            continue
        if section == "memory":
            value: Any = parse_size(given)
        elif flag.startswith("cpuset"):
            value = given
        else:
            try:
                value = int(given)
            except ValueError:
                raise OciError(f"invalid value for {flag.replace('_', '-')}: {given!r}") from None
        result.setdefault(section, {})[name] = value
    return result


def update(arguments: argparse.Namespace) -> int:
    """`update`: apply the changes and remember them in the record."""
    container = load(arguments.root, arguments.id)
    with Lock(container.directory):
        if container.status() == "stopped":
            raise OciError("container not running")
        wanted = changes(arguments)
        wanted.pop("devices", None)
        container.cgroup.apply(wanted)
        linux = container.spec.setdefault("linux", {})
        resources = linux.setdefault("resources", {})
        for section, values in wanted.items():
            if isinstance(values, dict):
                resources[section] = {**(resources.get(section) or {}), **values}
            else:
                resources[section] = values
        container.save()
    return 0
