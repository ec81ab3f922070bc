"""Change limits and restart policy of a container, running or not. Daemon.

What is left open (zero) keeps its value. A limit that the kernel refuses leaves the record as it was.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from corten.engine.containers.announce import announce
from corten.engine.containers.collaborators import CgroupControl
from corten.engine.containers.registry import Registry
from corten.engine.containers.resources import check_resources, oci_resources
from corten.engine.containers.restart import check_policy
from corten.engine.containers.settings import ContainerSettings
from corten.engine.events import Events
from corten.errors import Conflict, FailedPrecondition
from corten.lib import blocking
from corten.spec.docker.container import UpdateResponse
from corten.spec.docker.hostconfig import HostConfig, Resources, UpdateRequest

_CHANGEABLE = (
    "blkio_weight",
    "cpu_shares",
    "cpu_period",
    "cpu_quota",
    "nano_cpus",
    "cpuset_cpus",
    "cpuset_mems",
    "cpu_realtime_period",
    "cpu_realtime_runtime",
    "memory",
    "memory_swap",
    "memory_reservation",
    "pids_limit",
)


def merged(host: HostConfig, asked: UpdateRequest) -> HostConfig:
    """The HostConfig after an update; raises Conflict with Docker's texts where values exclude one another."""
    changes = {name: getattr(asked, name) for name in _CHANGEABLE if getattr(asked, name)}
    if asked.pids_limit is not None:
        changes["pids_limit"] = asked.pids_limit
    if asked.nano_cpus:
        if host.cpu_period or host.cpu_quota:
            raise Conflict("Conflicting options: Nano CPUs cannot be updated as CPU Period has already been set")
    elif (asked.cpu_period or asked.cpu_quota) and host.nano_cpus:
        raise Conflict("Conflicting options: CPU Period cannot be updated as NanoCPUs has already been set")
    if asked.memory and not asked.memory_swap and 0 < host.memory_swap < asked.memory:
        raise Conflict(
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time"
        )
    if asked.restart_policy.name:
        changes["restart_policy"] = asked.restart_policy
    result: HostConfig = msgspec.structs.replace(host, **changes)
    return result


class Updater:
    """The use case of POST /containers/{id}/update."""

    def __init__(
        self,
        *,
        settings: ContainerSettings,
        registry: Registry,
        events: Events,
        open_cgroup: Callable[[str], CgroupControl],
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._events = events
        self._open_cgroup = open_cgroup

    async def update(self, reference: str, asked: UpdateRequest) -> UpdateResponse:
        """Raises NotFound, InvalidArgument, Conflict."""
        container = self._registry.find(reference)
        check_resources(asked, cpus=self._settings.cpus, updating=True)
        async with container.lock:
            record = container.record
            check_policy(asked.restart_policy, auto_remove=record.host_config.auto_remove)
            host = merged(record.host_config, asked)
            check_resources(host, cpus=self._settings.cpus, updating=True)
            if record.status.status.has_process and container.cgroup:
                wanted = oci_resources(_only(asked, host))
                if wanted:
                    await self._apply(container.cgroup, wanted, record.id)
            self._registry.save(container, msgspec.structs.replace(record, host_config=host))
            announce(self._events, container.record, "update")
        return UpdateResponse()

    async def _apply(self, path: str, wanted: dict[str, object], cid: str) -> None:
        try:
            await blocking.run(self._open_cgroup(path).apply, wanted)
        except OSError as error:
            raise FailedPrecondition(f"Cannot update container {cid}: {error}") from error


def _only(asked: UpdateRequest, host: HostConfig) -> Resources:
    """The limits to write: those asked for, with what belongs to them (memory with its swap)."""
    changes = {name: getattr(asked, name) for name in _CHANGEABLE}
    if asked.memory and not asked.memory_swap:
        changes["memory_swap"] = host.memory_swap
    return Resources(**changes)
