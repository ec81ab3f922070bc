"""Start a container: sandbox, network, files, process, record. Daemon; the hot path.

What was acquired is undone in reverse order when a step fails; a failed start of an AutoRemove container removes it, so
that clients which wait for the removal are answered. The process's own failure (no such command) gives Docker's exit
codes 126, 127 and 128 and texts.
"""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from corten.engine.containers.announce import announce
from corten.engine.containers.collaborators import Networks, ShimHandle, ShimPool, Snapshots
from corten.engine.containers.create import attach_request
from corten.engine.containers.launch import Launch, Launcher, cgroup_path
from corten.engine.containers.live import Container
from corten.engine.containers.logconfig import shim_log
from corten.engine.containers.mounted_root import MountedRoot
from corten.engine.containers.netfiles import NetworkFileWriter
from corten.engine.containers.record import ContainerRecord
from corten.engine.containers.registry import Registry
from corten.engine.containers.settings import ContainerSettings
from corten.engine.containers.shared_memory import mount_shared, unmount_shared
from corten.engine.containers.status import Event, transition
from corten.engine.containers.tasks import Tasks
from corten.engine.containers.trace import Trace
from corten.engine.containers.volumes import MountSetup
from corten.engine.events import Events
from corten.engine.networks.settings import Attached
from corten.errors import CortenError, InvalidArgument
from corten.lib.undo import Undo
from corten.shim.client import StartFailed, StartRequest
from corten.spec.docker import messages

_LOG = logging.getLogger("corten.containers")


class StartError(CortenError):
    """The container's process could not be started."""

    code = "start-failed"


class CommandError(InvalidArgument):
    """The command cannot be run: not found, not executable."""

    code = "command-failed"


def classify(failure: StartFailed) -> tuple[int, CortenError]:
    """Exit code and error of a failed start, as dockerd takes them from runc's texts."""
    text = messages.START_FAILED.format(failure.text)
    if failure.stage == "exec":
        if failure.errno in (errno.EACCES, errno.EISDIR, errno.EPERM, errno.ENOEXEC):
            return 126, CommandError(text)
        if failure.errno in (errno.ENOENT, errno.ENOTDIR):
            return 127, CommandError(text)
    return 128, StartError(text)


class Starter:
    """The use case of POST /containers/{id}/start, and of every restart."""

    def __init__(
        self,
        *,
        settings: ContainerSettings,
        registry: Registry,
        shims: ShimPool,
        snapshots: Snapshots,
        networks: Networks,
        mounts: MountSetup,
        launcher: Launcher,
        files: NetworkFileWriter,
        events: Events,
        tasks: Tasks,
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._shims = shims
        self._snapshots = snapshots
        self._networks = networks
        self._mounts = mounts
        self._launcher = launcher
        self._files = files
        self._events = events
        self._tasks = tasks
        # set by assembly: what removes a container whose first start failed
        self.on_failed: Callable[[Container], Awaitable[None]] | None = None

    async def start(self, reference: str) -> None:
        """Raises NotFound, NotModified (runs already), Conflict, InvalidArgument, StartError."""
        container = self._registry.find(reference)
        await self._tasks.shielded(self.start_container(container))

    async def start_container(self, container: Container) -> None:
        """Start under the container's lock."""
        try:
            async with container.lock:
                await self.start_locked(container)
        except FailedStart as failed:
            if container.record.host_config.auto_remove and self.on_failed is not None:
                await self.on_failed(container)
            raise failed.error from failed.error.__cause__

    async def start_locked(self, container: Container, *, restart_count: int = 0) -> None:
        """Start; the lock is held. Raises FailedStart around what went wrong once the start had begun."""
        record = container.record
        after = transition(record.status.status, Event.START, cid=record.id, name=record.name)
        container.cancel_restart()
        container.stopping = False
        trace = Trace("start", record.id)
        try:
            async with Undo() as undo:
                shim, attached = await self._run(container, undo, trace)
                undo.keep()
        except StartFailed as failure:
            code, error = classify(failure)
            error.__cause__ = failure
            self._record_failure(container, code, error)
            raise FailedStart(error) from failure
        except (CortenError, OSError) as error:
            self._record_failure(container, 128, error)
            raise FailedStart(error) from error
        container.shim = shim
        container.started_once = True
        self._registry.save(
            container,
            msgspec.structs.replace(
                container.record.with_status(
                    status=after,
                    pid=shim.pid,
                    exit_code=0,
                    error="",
                    oom_killed=False,
                    started_ns=time.time_ns(),
                    restart_count=restart_count,
                    manually_stopped=False,
                ),
                attached=attached.settings,
                ports=attached.ports,
            ),
        )
        trace.mark("record")
        announce(self._events, container.record, "start")
        trace.done()

    async def _run(self, container: Container, undo: Undo, trace: Trace) -> tuple[ShimHandle, Attached]:
        record = container.record
        cid = record.id
        undo.push(container.drop_pending)
        mounts = await self._mounts.mount(record, undo) if record.mounts else ()
        if mount_shared(self._settings, record):
            undo.push(unmount_shared, self._settings, cid)
        rootfs = self._snapshots.rootfs(cid)
        root = MountedRoot(cid, rootfs, self._snapshots)
        undo.push(root.close)
        cgroup = cgroup_path(record, self._shims.cgroup_path(cid))
        launch = await self._launcher.prepare(container, rootfs, mounts, cgroup)
        container.cgroup = cgroup
        trace.mark("spec")
        shim = await self._shims.prepare(cid, spec=launch.spec)
        undo.push(shim.discard)
        trace.mark("sandbox")
        attached = await self._connect(container, shim, launch, undo)
        trace.mark("network")
        await self._hand_over(container, shim)
        await self._start_process(record, shim, launch, rootfs, root, attached)
        root.close()
        trace.mark("process")
        return shim, attached

    @staticmethod
    async def _start_process(
        record: ContainerRecord,
        shim: ShimHandle,
        launch: Launch,
        rootfs: dict[str, Any],
        root: MountedRoot,
        attached: Attached,
    ) -> None:
        await shim.start(
            StartRequest(
                spec=launch.spec,
                rootfs=rootfs,
                root_fd=await root.descriptor(),
                interfaces=attached.interfaces,
                renew_network=attached.renew,
                seccomp_path=launch.seccomp_path,
                log=shim_log(record.host_config.log_config, record.log_path),
                open_stdin=record.config.open_stdin,
                stdin_once=record.config.stdin_once,
                init=bool(record.host_config.init),
            )
        )

    async def _connect(self, container: Container, shim: ShimHandle, launch: Launch, undo: Undo) -> Attached:
        record = container.record
        if record.network_mode.startswith("container:"):
            return Attached()
        request = attach_request(
            record.name,
            record.config,
            record.host_config,
            record.networks,
            dns=self._files.name_servers(record),
            checked=record.has_healthcheck,
        )
        undo.push(self._networks.release, record.id)
        attached = await self._networks.attach(record.id, request, shim.pid)
        gateways = self._networks.host_gateways() if record.host_config.extra_hosts else []
        self._files.write(container, launch.hostname, attached, gateways)
        return attached

    @staticmethod
    async def _hand_over(container: Container, shim: ShimHandle) -> None:
        """Clients that attached before the start get every byte: the shim has them before the process runs."""
        pending, container.pending = container.pending, []
        try:
            for client in pending:
                await shim.attach(
                    client.fd,
                    stdin=client.stdin,
                    stdout=client.stdout,
                    stderr=client.stderr,
                    stream=client.stream,
                    logs=client.logs,
                    preface=client.preface,
                    detach_keys=client.detach_keys,
                )
        finally:
            for client in pending:
                client.close()

    def _record_failure(self, container: Container, code: int, error: BaseException) -> None:
        text = getattr(error, "message", "") or str(error)
        container.shim = None
        self._registry.save(container, container.record.with_status(exit_code=code, error=text, pid=0))
        container.notify_exit(code)
        _LOG.info("start of container %s failed: %s", container.id, text)


class FailedStart(Exception):
    """A start that had begun failed; `error` is what the client is told."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error = error
