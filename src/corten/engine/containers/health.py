"""Health checks: probes on a timer, run as execs inside the container, judged by Docker's rules. Daemon.

`judge` is pure. A monitor is one task per running container that has a check; it is begun by the container's start
event and ended with the container.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from typing import TYPE_CHECKING

from corten.engine.containers.announce import announce
from corten.engine.containers.clock import rfc3339
from corten.engine.containers.live import Container
from corten.engine.containers.status import Status
from corten.engine.events import Event, Events
from corten.errors import CortenError
from corten.spec.docker.container import Health, HealthcheckResult, HealthConfig
from corten.spec.docker.hostconfig import str_slice

if TYPE_CHECKING:
    from corten.engine.containers.exec import ExecService
    from corten.engine.containers.registry import Registry
    from corten.engine.containers.tasks import Tasks

_LOG = logging.getLogger("corten.health")
STARTING, HEALTHY, UNHEALTHY = "starting", "healthy", "unhealthy"
_SECOND = 1_000_000_000
_DEFAULT_INTERVAL_NS = 30 * _SECOND
_DEFAULT_TIMEOUT_NS = 30 * _SECOND
_DEFAULT_START_INTERVAL_NS = 5 * _SECOND
_DEFAULT_RETRIES = 3
_LOG_ENTRIES = 5
_OUTPUT = 4096
_KILL_S = 5.0


def command_of(check: HealthConfig, shell: list[str] | None) -> list[str]:
    """The probe's command line."""
    test = check.test or []
    if test[:1] == ["CMD-SHELL"]:
        return [*(shell or ["/bin/sh", "-c"]), " ".join(test[1:])]
    return test[1:]


def pause_ns(check: HealthConfig, health: Health, *, ran_ns: int) -> int:
    """The time until the next probe: shorter while the container is starting."""
    if health.status == STARTING and ran_ns < check.start_period:
        return check.start_interval or _DEFAULT_START_INTERVAL_NS
    return check.interval or _DEFAULT_INTERVAL_NS


def judge(check: HealthConfig, health: Health, result: HealthcheckResult, *, ran_ns: int) -> Health:
    """The health after a probe. A failure during the start period does not count."""
    log = [*health.log, result][-_LOG_ENTRIES:]
    if result.exit_code == 0:
        return Health(status=HEALTHY, failing_streak=0, log=log)
    if health.status == STARTING and ran_ns < check.start_period:
        return Health(status=STARTING, failing_streak=health.failing_streak, log=log)
    streak = health.failing_streak + 1
    status = UNHEALTHY if streak >= (check.retries or _DEFAULT_RETRIES) else health.status
    return Health(status=status, failing_streak=streak, log=log)


class Output:
    """The text of a probe, out of the multiplexed frames that a client gets; bounded."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self._left = 0
        self._text = bytearray()

    def feed(self, data: bytes) -> None:
        """More of the stream."""
        self._pending += data
        while self._pending:
            if not self._left:
                if len(self._pending) < 8:
                    return
                self._left = int.from_bytes(self._pending[4:8], "big")
                del self._pending[:8]
                continue
            piece = self._pending[: self._left]
            self._left -= len(piece)
            del self._pending[: len(piece)]
            self._text += piece[: max(0, _OUTPUT - len(self._text))]

    def text(self) -> str:
        """What was said, cut to Docker's 4096 bytes."""
        return self._text.decode("utf-8", "replace")


class HealthChecks:
    """The monitors."""

    def __init__(self, *, registry: Registry, execs: ExecService, events: Events, tasks: Tasks) -> None:
        self._registry = registry
        self._execs = execs
        self._events = events
        self._tasks = tasks
        self._monitors: dict[str, asyncio.Task[None]] = {}

    def on_event(self, event: Event) -> None:
        """A container has started."""
        if event.kind == "container" and event.action == "start":
            container = self._registry.get(event.actor)
            if container is not None:
                self.begin(container)

    def begin(self, container: Container) -> None:
        """Watch a running container, if it has a check."""
        self.stop(container)
        if not container.record.has_healthcheck:
            container.health = None
            return
        container.health = Health(status=STARTING)
        task = asyncio.ensure_future(self._watch(container, container.record.status.started_ns))
        self._monitors[container.id] = task

    def stop(self, container: Container) -> None:
        """The container ended; what is known of its health stays."""
        task = self._monitors.pop(container.id, None)
        if task is not None:
            task.cancel()
        if container.health is not None and container.health.status == STARTING:
            container.health = Health(
                status=UNHEALTHY, failing_streak=container.health.failing_streak, log=container.health.log
            )

    def close(self) -> None:
        """The daemon ends."""
        for task in self._monitors.values():
            task.cancel()
        self._monitors.clear()

    async def _watch(self, container: Container, started_ns: int) -> None:
        check = container.record.config.healthcheck
        assert check is not None
        command = command_of(check, str_slice(container.record.config.shell))
        while container.health is not None:
            wait_ns = pause_ns(check, container.health, ran_ns=time.time_ns() - started_ns)
            await asyncio.sleep(wait_ns / _SECOND)
            if container.record.status.status is Status.PAUSED:
                continue
            if container.record.status.status is not Status.RUNNING:
                return
            began_ns = time.time_ns()
            code, text = await self._probe(container, command, (check.timeout or _DEFAULT_TIMEOUT_NS) / _SECOND)
            result = HealthcheckResult(
                start=rfc3339(began_ns), end=rfc3339(time.time_ns()), exit_code=code, output=text
            )
            before = container.health
            container.health = judge(check, before, result, ran_ns=began_ns - started_ns)
            if container.health.status != before.status:
                announce(self._events, container.record, f"health_status: {container.health.status}")

    async def _probe(self, container: Container, command: list[str], timeout_s: float) -> tuple[int, str]:
        instance = self._execs.probe(container, command)
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        output = Output()
        try:
            try:
                async with asyncio.timeout(timeout_s):
                    try:
                        await self._execs.run_probe(instance, theirs.fileno())
                    finally:
                        theirs.close()
                    await _drain(ours, output)
                    await instance.ended.wait()
            except TimeoutError:
                await self._execs.kill_probe(instance)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_KILL_S):
                        await instance.ended.wait()
                return -1, f"Health check exceeded timeout ({timeout_s:g}s)"
            except (CortenError, OSError) as error:
                return -1, getattr(error, "message", "") or str(error)
            code = instance.exit_code
            return (-1 if code is None else code), output.text()
        finally:
            ours.close()
            self._execs.end_probe(instance)


async def _drain(sock: socket.socket, output: Output) -> None:
    loop = asyncio.get_running_loop()
    while data := await loop.sock_recv(sock, 65536):
        output.feed(data)
