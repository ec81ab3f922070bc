"""Devices of the host for a container: `--device`, `--privileged`, as OCI `linux.devices` and cgroup rules. Daemon.

Reads the host's /dev (stat, a few microseconds each); what is given is the administrator's word, not the container's.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from typing import Any

from corten.engine.containers.resources import parse_device_rule
from corten.errors import InvalidArgument
from corten.linux.cgroup.devices import DEFAULT_RULES
from corten.spec.docker.hostconfig import DeviceMapping, HostConfig

Devices = tuple[list[dict[str, Any]], list[dict[str, Any]]]
DENY_ALL: dict[str, Any] = {"allow": False, "access": "rwm"}
_ALLOW_ALL: dict[str, Any] = {"allow": True, "access": "rwm"}
_SKIPPED = frozenset({"pts", "shm", "fd", "mqueue", "console", ".lxc", ".lxd-mounts", ".udev"})
_MAX_DEPTH = 8


def gather(host: HostConfig) -> Devices:
    """(linux.devices, linux.resources.devices). Raises InvalidArgument for a device that is none."""
    if host.privileged:
        return list(_walk("/dev", "/dev")), [_ALLOW_ALL]
    if not host.devices and not host.device_cgroup_rules:
        return [], [DENY_ALL, *map(dict, DEFAULT_RULES)]
    nodes: list[dict[str, Any]] = []
    rules: list[dict[str, Any]] = [DENY_ALL, *map(dict, DEFAULT_RULES)]
    for mapping in host.devices or ():
        for node in _mapped(mapping):
            nodes.append(node)
            rules.append(
                {
                    "allow": True,
                    "type": node["type"],
                    "major": node["major"],
                    "minor": node["minor"],
                    "access": mapping.cgroup_permissions or "rwm",
                }
            )
    rules += [parse_device_rule(rule) for rule in host.device_cgroup_rules or ()]
    return nodes, rules


def check_mapping(mapping: DeviceMapping) -> None:
    """What create can refuse. Raises InvalidArgument with Docker's texts."""
    if not re.fullmatch(r"[rwm]{0,3}", mapping.cgroup_permissions):
        raise InvalidArgument(f"invalid cgroup permissions: {mapping.cgroup_permissions[:32]}")
    if not mapping.path_on_host or "\0" in mapping.path_on_host or "\0" in mapping.path_in_container:
        raise InvalidArgument(f"invalid device specification: {mapping.path_on_host[:64]!r}")


def node_at(source: str, target: str) -> dict[str, Any]:
    """The node that `target` becomes: that of the host's `source`. Raises InvalidArgument."""
    try:
        node = _node(target, os.stat(os.path.realpath(source)))
    except OSError as error:
        raise InvalidArgument(
            f'error gathering device information while adding custom device "{source}": '
            f"{os.strerror(error.errno or 0).lower()}"
        ) from error
    if node is None:
        raise InvalidArgument(
            f'error gathering device information while adding custom device "{source}": not a device node'
        )
    return node


def _mapped(mapping: DeviceMapping) -> Iterator[dict[str, Any]]:
    source = os.path.realpath(mapping.path_on_host)
    target = os.path.normpath(os.path.join("/", mapping.path_in_container or mapping.path_on_host))
    try:
        status = os.stat(source)
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        raise InvalidArgument(
            f'error gathering device information while adding custom device "{mapping.path_on_host}": {reason}'
        ) from error
    if stat.S_ISDIR(status.st_mode):
        yield from _walk(source, target)
        return
    yield node_at(mapping.path_on_host, target)


def _node(path: str, status: os.stat_result) -> dict[str, Any] | None:
    if stat.S_ISCHR(status.st_mode):
        kind = "c"
    elif stat.S_ISBLK(status.st_mode):
        kind = "b"
    else:
        return None
    return {
        "path": path,
        "type": kind,
        "major": os.major(status.st_rdev),
        "minor": os.minor(status.st_rdev),
        "fileMode": stat.S_IMODE(status.st_mode),
        "uid": status.st_uid,
        "gid": status.st_gid,
    }


def _walk(directory: str, target: str, depth: int = _MAX_DEPTH) -> Iterator[dict[str, Any]]:
    try:
        entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if entry.name in _SKIPPED or entry.is_symlink():
            continue
        try:
            if entry.is_dir(follow_symlinks=False):
                if depth:
                    yield from _walk(entry.path, f"{target}/{entry.name}", depth - 1)
                continue
            node = _node(f"{target}/{entry.name}", entry.stat(follow_symlinks=False))
        except OSError:
            continue
        if node is not None:
            yield node
