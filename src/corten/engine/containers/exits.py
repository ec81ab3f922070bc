"""What happens when a container's process ends: record, free, announce; then run again, remove, or rest. Daemon.

`Supervisor` has the callbacks that shims call on the loop; the work is done in a task under the container's lock.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

import msgspec

from corten.engine.containers.announce import announce
from corten.engine.containers.collaborators import CgroupControl, Networks, ShimPool
from corten.engine.containers.live import Container
from corten.engine.containers.registry import Registry
from corten.engine.containers.remove import Remover
from corten.engine.containers.restart import next_delay, wants_restart
from corten.engine.containers.settings import ContainerSettings
from corten.engine.containers.shared_memory import unmount_shared
from corten.engine.containers.start import FailedStart, Starter
from corten.engine.containers.status import Event, Status, transition
from corten.engine.containers.tasks import Tasks
from corten.engine.containers.trace import Trace
from corten.engine.containers.volumes import MountSetup
from corten.engine.events import Events
from corten.errors import CortenError
from corten.lib import blocking
from corten.shim.client import Exit

_LOG = logging.getLogger("corten.containers")
_NANO = 1_000_000_000
_LOST_CODE = 137  # what is left of a container whose shim died is killed


class Supervisor:
    """Follows running containers to their end."""

    def __init__(
        self,
        *,
        settings: ContainerSettings,
        registry: Registry,
        shims: ShimPool,
        networks: Networks,
        mounts: MountSetup,
        starter: Starter,
        remover: Remover,
        events: Events,
        tasks: Tasks,
        open_cgroup: Callable[[str], CgroupControl],
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._shims = shims
        self._networks = networks
        self._mounts = mounts
        self._starter = starter
        self._remover = remover
        self._events = events
        self._tasks = tasks
        self._open_cgroup = open_cgroup
        self._closing = False
        self._held: list[tuple[str, Exit]] | None = None
        # set by assembly: execs and probes of an ended container are over; a recovered one has probes again
        self.on_ended: Callable[[Container], None] = lambda _container: None
        self.on_adopted: Callable[[Container], None] = lambda _container: None

    def close(self) -> None:
        """The daemon ends: no more restarts."""
        self._closing = True
        for container in self._registry:
            container.cancel_restart()

    def hold(self) -> None:
        """Recovery begins: exits are kept until everything they need is there."""
        self._held = []

    def release(self) -> None:
        """Recovery has put everything in its place."""
        held, self._held = self._held or [], None
        for cid, ended in held:
            self.on_exit(cid, ended)

    # -- callbacks of the shims

    def on_exit(self, cid: str, ended: Exit) -> None:
        """The process ended and its output is flushed."""
        if self._held is not None:
            self._held.append((cid, ended))
            return
        container = self._registry.get(cid)
        if container is not None:
            self._tasks.spawn(self.exited(container, ended), f"end of container {cid}")

    def on_oom(self, cid: str) -> None:
        """The kernel's OOM killer took a process of the container."""
        container = self._registry.get(cid)
        if container is not None:
            container.record = container.record.with_status(oom_killed=True)
            announce(self._events, container.record, "oom")

    def on_lost(self, cid: str) -> None:
        """The shim is gone without a word: what it kept is killed, the container counts as ended."""
        container = self._registry.get(cid)
        if container is None:
            return
        _LOG.error("the shim of container %s is gone: its processes are killed", cid)
        ended = Exit(code=_LOST_CODE, oom_killed=False, finished_ns=time.time_ns())
        self._tasks.spawn(self.lost(container, ended), f"end of container {cid}, whose shim is gone")

    async def lost(self, container: Container, ended: Exit) -> None:
        """Kill the container's cgroup, remove what its shim left, and record an end."""
        if container.cgroup:
            await blocking.run(_kill, self._open_cgroup(container.cgroup))
        self._shims.clear(container.id)
        container.shim = None
        await self.exited(container, ended, lost=True)

    # -- the end

    async def exited(self, container: Container, ended: Exit, *, lost: bool = False) -> None:
        """Record an end and do what follows from it. Nothing happens for a container that is not running."""
        async with container.lock:
            record = container.record
            if not record.status.status.has_process or container.removed:
                return
            trace = Trace("exit", record.id)
            again = not self._closing and self._again(container, ended)
            status = transition(record.status.status, Event.EXIT_AGAIN if again else Event.EXIT)
            shim, container.shim = container.shim, None
            if shim is not None:
                shim.release()
            changed = msgspec.structs.replace(
                record.with_status(
                    status=status,
                    pid=0,
                    exit_code=ended.code,
                    oom_killed=ended.oom_killed or record.status.oom_killed,
                    finished_ns=ended.finished_ns,
                    error="the container's shim was killed" if lost else record.status.error,
                    manually_stopped=container.record.status.manually_stopped,
                ),
                attached={},
                ports={},
            )
            remove = record.host_config.auto_remove and not again and not container.keep
            (self._registry.remember if remove else self._registry.save)(container, changed)
            self.on_ended(container)
            duration = max(0, ended.finished_ns - record.status.started_ns) // _NANO
            announce(self._events, changed, "die", exitCode=str(ended.code), execDuration=str(duration))
            trace.mark("record")
            await self._free(container)
            trace.mark("free")
            if remove:
                # Waiters for the removal are answered last; those for the exit see a container that is gone.
                await self._remover.remove_locked(container, volumes=True)
                trace.mark("remove")
            container.notify_exit(ended.code)
            if again:
                self._plan_restart(container, ended)
            trace.done()

    def _again(self, container: Container, ended: Exit) -> bool:
        record = container.record
        return not container.stopping and wants_restart(
            record.host_config.restart_policy,
            exit_code=ended.code,
            restart_count=record.status.restart_count,
            manually_stopped=record.status.manually_stopped,
        )

    async def _free(self, container: Container) -> None:
        record = container.record
        try:
            if not record.network_mode.startswith("container:"):
                await self._networks.release(record.id)
            if record.mounts:
                await self._mounts.release(record)
            if record.host_config.ipc_mode == "shareable":
                unmount_shared(self._settings, record.id)
        except (CortenError, OSError):
            _LOG.exception("what container %s had could not all be freed", record.id)

    # -- another run

    def _plan_restart(self, container: Container, ended: Exit) -> None:
        ran_s = max(0, ended.finished_ns - container.record.status.started_ns) / _NANO
        container.restart_delay_s = next_delay(container.restart_delay_s, ran_s=ran_s)
        self.restart_in(container, container.restart_delay_s)

    def restart_in(self, container: Container, delay_s: float) -> None:
        """Run again after a pause; `stop` and `rm -f` cancel it."""
        container.cancel_restart()
        loop = asyncio.get_running_loop()
        container.restart_timer = loop.call_later(
            delay_s,
            lambda: self._tasks.spawn(self._restart(container), f"restart of container {container.id}"),
        )

    async def _restart(self, container: Container) -> None:
        async with container.lock:
            record = container.record
            container.restart_timer = None
            if record.status.status is not Status.RESTARTING or container.removed or self._closing:
                return
            try:
                await self._starter.start_locked(container, restart_count=record.status.restart_count + 1)
            except FailedStart as failed:
                # The policy is about runs; a start that cannot succeed is tried again as one that failed.
                self._retry_failed(container, failed)

    def _retry_failed(self, container: Container, failed: FailedStart) -> None:
        record = container.record.with_status(restart_count=container.record.status.restart_count + 1)
        code = record.status.exit_code
        if wants_restart(
            record.host_config.restart_policy,
            exit_code=code,
            restart_count=record.status.restart_count,
            manually_stopped=record.status.manually_stopped,
        ):
            self._registry.save(container, record)
            container.restart_delay_s = next_delay(container.restart_delay_s, ran_s=0)
            self.restart_in(container, container.restart_delay_s)
            return
        _LOG.warning("container %s is not started again: %s", container.id, failed)
        after = transition(record.status.status, Event.CANCEL)
        self._registry.save(container, record.with_status(status=after, finished_ns=time.time_ns()))


def _kill(cgroup: CgroupControl) -> None:
    cgroup.kill()
    cgroup.remove()
