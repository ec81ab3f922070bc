"""Exec: further processes in a running container. Daemon.

An instance lives in memory only: created, started once, ended, kept for a while so that clients read its exit code.
The shim runs the process and talks to the client; the exit code is recorded before the client's stream ends, since the
shim says so first and `inspect` lets everything that was said arrive.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import secrets
import socket
import time
from dataclasses import dataclass, field

from corten.engine.containers.announce import announce
from corten.engine.containers.attach import Hijack
from corten.engine.containers.collaborators import ShimHandle, Snapshots
from corten.engine.containers.detach import parse_detach_keys
from corten.engine.containers.exec_process import exec_process
from corten.engine.containers.launch import Launcher
from corten.engine.containers.live import Container
from corten.engine.containers.registry import Registry
from corten.engine.containers.status import Status
from corten.engine.containers.tasks import Tasks
from corten.engine.containers.trace import Trace
from corten.engine.events import Events
from corten.errors import Conflict, CortenError, InvalidArgument, NotFound, Unavailable
from corten.shim.client import StartFailed
from corten.spec.docker import messages
from corten.spec.docker.exec import ExecCreateRequest, ExecInspect, ProcessConfig
from corten.spec.docker.hostconfig import str_slice

_KEPT_S = 300.0
_MAX_EXECS = 10_000
_WRITE_S = 5.0


class ExecNotFound(NotFound):
    """No exec instance has this id."""

    code = "exec-not-found"


class ExecFailed(InvalidArgument):
    """The command of an exec could not be started."""

    code = "exec-failed"


@dataclass(slots=True, eq=False)
class ExecInstance:
    """One exec."""

    id: str
    container: Container
    request: ExecCreateRequest
    command: list[str]
    started: bool = False
    running: bool = False
    exit_code: int | None = None
    pid: int = 0
    open_stdin: bool = False
    size: tuple[int, int] | None = None
    ended_at: float = 0.0
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    quiet: bool = False  # a health probe: not in inspect, no events of its own


class ExecService:
    """The use cases of /exec."""

    def __init__(
        self, *, registry: Registry, launcher: Launcher, snapshots: Snapshots, events: Events, tasks: Tasks
    ) -> None:
        self._registry = registry
        self._launcher = launcher
        self._snapshots = snapshots
        self._events = events
        self._tasks = tasks
        self._execs: dict[str, ExecInstance] = {}

    # -- create

    def create(self, reference: str, request: ExecCreateRequest) -> str:
        """A new exec's id. Raises NotFound, Conflict (not running), InvalidArgument."""
        command = str_slice(request.cmd) or []
        if not command:
            raise InvalidArgument(messages.EXEC_NO_COMMAND)
        if any("\0" in text for text in (*command, *(request.env or ()), request.working_dir, request.user)):
            raise InvalidArgument("invalid exec: strings cannot contain a null byte")
        parse_detach_keys(request.detach_keys)
        container = _running(self._registry.find(reference))
        self._forget_old()
        instance = self._new(container, request, command)
        container.exec_ids.append(instance.id)
        announce(self._events, container.record, f"exec_create: {' '.join(command)}", execID=instance.id)
        return instance.id

    def _new(self, container: Container, request: ExecCreateRequest, command: list[str]) -> ExecInstance:
        instance = ExecInstance(secrets.token_hex(32), container, request, command)
        if request.console_size and len(request.console_size) == 2:
            instance.size = (request.console_size[1], request.console_size[0])
        self._execs[instance.id] = instance
        return instance

    def _forget_old(self) -> None:
        limit = time.monotonic() - _KEPT_S
        crowded = len(self._execs) >= _MAX_EXECS
        for instance in list(self._execs.values()):
            over = instance.ended.is_set() and (crowded or instance.ended_at < limit)
            if over or instance.container.removed:
                self._drop(instance)
        if len(self._execs) >= _MAX_EXECS:
            raise Unavailable("too many exec instances")

    def _drop(self, instance: ExecInstance) -> None:
        self._execs.pop(instance.id, None)
        if instance.id in instance.container.exec_ids:
            instance.container.exec_ids.remove(instance.id)

    def _find(self, exec_id: str) -> ExecInstance:
        instance = self._execs.get(exec_id)
        if instance is None:
            raise ExecNotFound(messages.NO_SUCH_EXEC.format(exec_id[:128]))
        return instance

    # -- start

    def is_tty(self, exec_id: str) -> bool:
        """Whether the stream is raw. Raises ExecNotFound."""
        return self._find(exec_id).request.tty

    async def start(
        self, exec_id: str, *, detach: bool, hijack: Hijack | None, size: tuple[int, int] | None = None
    ) -> None:
        """Run it. Raises NotFound and Conflict before the connection is taken over; later failures go to the client
        as text in its stream, and are raised when detached."""
        instance = self._find(exec_id)
        if instance.started:
            raise Conflict(messages.EXEC_ALREADY_RUN.format(exec_id))
        _running(instance.container)
        instance.started = True
        instance.size = size or instance.size
        if detach or hijack is None:
            await self._tasks.shielded(self._run(instance))
            return
        taken = await hijack()
        try:
            await self._tasks.shielded(self._run_attached(instance, taken.fd, taken.preface))
        finally:
            os.close(taken.fd)

    async def _run_attached(self, instance: ExecInstance, fd: int, preface: bytes) -> None:
        fd = os.dup(fd)  # the client may be gone, and its handler cancelled, before this is over
        try:
            await self._run(instance, fd, preface)
        except (CortenError, OSError) as error:
            text = error.message if isinstance(error, CortenError) else str(error)
            _tell(fd, f"{text}\r\n".encode(), tty=instance.request.tty)
        finally:
            os.close(fd)

    async def _run(self, instance: ExecInstance, fd: int = -1, preface: bytes = b"") -> None:
        request, container = instance.request, instance.container
        instance.open_stdin = request.attach_stdin and fd >= 0
        trace = Trace("exec", container.id)
        try:
            shim = _shim(container)
            process = await exec_process(instance.container, request, instance.command, self._launcher, self._snapshots)
            trace.mark("process")
            if request.tty and instance.size:
                process["consoleSize"] = {"width": instance.size[0], "height": instance.size[1]}
            if fd >= 0:
                await shim.attach(
                    fd,
                    exec_id=instance.id,
                    stdin=request.attach_stdin,
                    stdout=request.attach_stdout or request.tty,
                    stderr=request.attach_stderr and not request.tty,
                    preface=preface,
                    detach_keys=request.detach_keys,
                )
            if not instance.quiet:
                command = " ".join(instance.command)
                announce(self._events, container.record, f"exec_start: {command}", execID=instance.id)
            trace.mark("attach")
            instance.running = True
            path = self._launcher.seccomp_path(container.record, tty=request.tty)
            instance.pid = await shim.exec(
                instance.id, process=process, open_stdin=instance.open_stdin, seccomp_path=path
            )
            trace.mark("start")
            trace.done()
        except StartFailed as failure:
            code = _exit_code(failure)
            self._ended(instance, code)
            raise ExecFailed(messages.EXEC_FAILED.format(failure.text)) from failure
        except BaseException:
            self._ended(instance, 126)
            raise

    def on_exec_exit(self, cid: str, exec_id: str, code: int) -> None:
        """A shim says that an exec is over."""
        instance = self._execs.get(exec_id)
        if instance is not None and instance.container.id == cid:
            self._ended(instance, code)

    def _ended(self, instance: ExecInstance, code: int) -> None:
        if instance.ended.is_set():
            return
        was_running = instance.running
        instance.running = False
        instance.exit_code = code
        instance.ended_at = time.monotonic()
        instance.ended.set()
        if instance.id in instance.container.exec_ids:
            instance.container.exec_ids.remove(instance.id)
        if was_running and not instance.quiet:
            record = instance.container.record
            announce(self._events, record, "exec_die", execID=instance.id, exitCode=str(code))

    def container_ended(self, container: Container) -> None:
        """Processes of a container end with it."""
        for instance in list(self._execs.values()):
            if instance.container is container and not instance.ended.is_set() and instance.started:
                self._ended(instance, 137)

    def detached(self, container: Container, exec_id: str) -> None:
        """A client typed the detach keys."""
        announce(self._events, container.record, "exec_detach", execID=exec_id)

    # -- inspect, resize

    async def inspect(self, exec_id: str) -> ExecInspect:
        """Raises ExecNotFound."""
        instance = self._find(exec_id)
        if instance.running and instance.container.shim is not None:
            await instance.container.shim.sync()
        request = instance.request
        return ExecInspect(
            id=instance.id,
            running=instance.running,
            exit_code=instance.exit_code,
            process_config=ProcessConfig(
                tty=request.tty,
                entrypoint=instance.command[0],
                arguments=instance.command[1:],
                privileged=request.privileged,
                **({"user": request.user} if request.user else {}),
            ),
            open_stdin=request.attach_stdin,
            open_stderr=request.attach_stderr,
            open_stdout=request.attach_stdout,
            container_id=instance.container.id,
            detach_keys=request.detach_keys,
            pid=instance.pid,
        )

    async def resize(self, exec_id: str, width: int, height: int) -> None:
        """Raises ExecNotFound, Conflict (ended). Before the start the size is kept for it."""
        instance = self._find(exec_id)
        if width <= 0 or height <= 0:
            return
        if instance.ended.is_set():
            raise Conflict(messages.EXEC_NOT_RUNNING.format(exec_id))
        if not instance.pid:
            instance.size = (width, height)
            return
        await _shim(instance.container).resize(width, height, exec_id=exec_id)

    # -- health probes

    def probe(self, container: Container, command: list[str]) -> ExecInstance:
        """An instance of the engine's own, for a health check."""
        request = ExecCreateRequest(cmd=command, attach_stdout=True, attach_stderr=True)
        instance = self._new(container, request, command)
        instance.quiet = True
        instance.started = True
        return instance

    async def run_probe(self, instance: ExecInstance, fd: int) -> None:
        """Run it with its output on `fd`. Raises CortenError."""
        await self._run(instance, fd)

    async def kill_probe(self, instance: ExecInstance) -> None:
        """It took too long."""
        shim = instance.container.shim
        if shim is not None and instance.running:
            with contextlib.suppress(CortenError, StartFailed):
                await shim.signal(9, exec_id=instance.id)

    def end_probe(self, instance: ExecInstance) -> None:
        """Its result is taken."""
        self._drop(instance)


def _running(container: Container) -> Container:
    status = container.record.status.status
    if status is Status.PAUSED:
        raise Conflict(messages.PAUSED_EXEC.format(container.id))
    if status is Status.RESTARTING:
        raise Conflict(messages.RESTARTING_WAIT.format(container.id))
    if not status.has_process:
        raise Conflict(messages.NOT_RUNNING.format(container.id))
    return container


def _shim(container: Container) -> ShimHandle:
    if container.shim is None:
        raise Conflict(messages.NOT_RUNNING.format(container.id))
    return container.shim


def _exit_code(failure: StartFailed) -> int:
    """As dockerd: 127 for a command that is not there, 126 for one that cannot be run."""
    return 127 if failure.stage == "exec" and failure.errno == errno.ENOENT else 126


def _tell(fd: int, data: bytes, *, tty: bool) -> None:
    """Write a last text to the client, within bounds."""
    head = b"" if tty else bytes((1, 0, 0, 0)) + len(data).to_bytes(4, "big")
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(fd)) as sock:
        sock.settimeout(_WRITE_S)
        sock.sendall(head + data)
