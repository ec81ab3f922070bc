"""Which namespaces a container has: its own, the host's, or another container's: Docker's modes as OCI. Daemon.

Pure but for the lookup of the other container, which is given as a function.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from corten.engine.containers.live import Container
from corten.engine.containers.status import Status
from corten.errors import Conflict
from corten.spec.docker.hostconfig import HostConfig

Find = Callable[[str], Container]


def _joined(find: Find, mode: str, kind: str, what: str) -> str:
    other = find(mode.partition(":")[2])
    status = other.record.status
    if status.status is Status.RESTARTING:
        raise Conflict(f"container {other.id} is restarting, wait until the container is running")
    if not status.status.has_process or not status.pid:
        raise Conflict(f"cannot join {what} of a non running container: {other.id}")
    if kind == "ipc" and other.record.host_config.ipc_mode not in ("shareable", "host"):
        raise Conflict(
            f"can't join IPC of container {other.id}: non-shareable IPC "
            "(hint: use IpcMode:shareable for the donor container)"
        )
    return f"/proc/{status.pid}/ns/{kind}"


def namespaces_of(host: HostConfig, find: Find) -> dict[str, str]:
    """Path by type of OCI `linux.namespaces`: "" for a new one; what is shared with the host is absent.

    Raises NotFound, Conflict with Docker's texts.
    """
    result = {"mount": ""}
    if host.uts_mode != "host":
        result["uts"] = ""
    for mode, kind, oci, what in (
        (host.ipc_mode, "ipc", "ipc", "IPC namespace"),
        (host.pid_mode, "pid", "pid", "PID namespace"),
        (host.network_mode, "net", "network", "network namespace"),
    ):
        if mode.startswith("container:"):
            result[oci] = _joined(find, mode, kind, what)
        elif mode != "host":
            result[oci] = ""
    if host.cgroupns_mode != "host":
        result["cgroup"] = ""
    result["time"] = ""
    return result


def hostname_of(host: HostConfig, own: str, cid: str, find: Find) -> str:
    """The container's host name: its own, the host's where it shares that, or the other container's."""
    if host.network_mode.startswith("container:"):
        other = find(host.network_mode.partition(":")[2])
        if other.id != cid:
            record = other.record
            return hostname_of(record.host_config, record.config.hostname, record.id, find)
    if own:
        return own
    if host.network_mode == "host" or host.uts_mode == "host":
        return os.uname().nodename
    return cid[:12]
