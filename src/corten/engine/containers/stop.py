"""Stop, kill, restart, pause, unpause. Daemon.

The lock is held for decisions and signals, never while waiting for a process to end. A stop or a kill keeps the restart
policy from running the container again; `stop` is also remembered for unless-stopped.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

from corten.engine.containers.announce import announce
from corten.engine.containers.collaborators import CgroupControl, Networks
from corten.engine.containers.live import Container, Ended
from corten.engine.containers.registry import Registry
from corten.engine.containers.signals import parse_signal
from corten.engine.containers.start import Starter
from corten.engine.containers.status import Event, Status, transition
from corten.engine.containers.tasks import Tasks
from corten.engine.events import Events
from corten.errors import Conflict, Internal, NotModified
from corten.lib import blocking
from corten.spec.docker import messages

DEFAULT_TIMEOUT_S = 10
_KILL_S = 10.0
_AFTER_SIGNAL_S = 2.0


class Stopper:
    """The use cases that act on a running container."""

    def __init__(
        self,
        *,
        registry: Registry,
        events: Events,
        starter: Starter,
        networks: Networks,
        tasks: Tasks,
        open_cgroup: Callable[[str], CgroupControl],
    ) -> None:
        self._registry = registry
        self._events = events
        self._starter = starter
        self._networks = networks
        self._tasks = tasks
        self._open_cgroup = open_cgroup

    # -- stop

    async def stop(self, reference: str, *, timeout_s: int | None = None, signal_name: str = "") -> None:
        """Ask, wait, kill. Raises NotFound, NotModified (not running), InvalidArgument (signal)."""
        container = self._registry.find(reference)
        number = parse_signal(signal_name) if signal_name else _stop_signal(container)
        if not container.record.status.status.is_running:
            raise NotModified("container already stopped")
        await self._tasks.shielded(self.stop_container(container, timeout_s=timeout_s, number=number))

    async def shut_down(self, reference: str) -> None:
        """The daemon ends and its containers with it: as `stop`, but not the user's word, so that unless-stopped runs
        again when the daemon does. Raises NotFound."""
        container = self._registry.find(reference)
        if container.record.status.status.has_process:
            number = _stop_signal(container)
            await self._tasks.shielded(self.stop_container(container, timeout_s=None, number=number, manual=False))

    async def stop_container(
        self, container: Container, *, timeout_s: int | None, number: int, manual: bool = True
    ) -> None:
        """Stop a container that may have ended meanwhile. Before it hears of that, nothing new is sent to it."""
        status = container.record.status.status
        if status.has_process:  # a frozen one would not come to an end with its connections
            await self._networks.withdraw(container.id, drain=status is not Status.PAUSED)
        async with container.lock:
            status = container.record.status.status
            if status is Status.RESTARTING:
                self._cancel_restart(container)
                announce(self._events, container.record, "stop")
                return
            if not status.has_process:
                return
            ended = _exit_of(container)
            self._mark_stopped(container, manual=manual)
            await self._signal(container, number)
        wait_s = _timeout(container, timeout_s)
        if not await _ended_within(ended, wait_s):
            await self.kill_and_wait(container, ended)
        if not container.removed or not container.record.host_config.auto_remove:
            announce(self._events, container.record, "stop")

    def _cancel_restart(self, container: Container) -> None:
        container.cancel_restart()
        after = transition(container.record.status.status, Event.CANCEL)
        self._registry.save(container, container.record.with_status(status=after, manually_stopped=True))
        container.notify_exit(container.record.status.exit_code)

    def _mark_stopped(self, container: Container, *, manual: bool = True) -> None:
        container.stopping = True
        if manual and not container.record.host_config.auto_remove:
            self._registry.save(container, container.record.with_status(manually_stopped=True))

    async def kill_and_wait(self, container: Container, ended: asyncio.Future[Ended] | None = None) -> None:
        """SIGKILL, and wait for the end within bounds. Raises Internal when it does not come."""
        await self._networks.withdraw(container.id, drain=False)
        async with container.lock:
            if not container.record.status.status.has_process or container.removed:
                return
            if ended is None:
                ended = _exit_of(container)
            container.stopping = True
            await self._signal(container, int(signal.SIGKILL))
        if await _ended_within(ended, _KILL_S):
            return
        if container.cgroup:
            await blocking.run(self._open_cgroup(container.cgroup).kill)
        if not await _ended_within(ended, _AFTER_SIGNAL_S):
            raise Internal(f"container {container.id} did not end after SIGKILL")

    async def _signal(self, container: Container, number: int) -> None:
        shim = container.shim
        if shim is None:
            raise Conflict(messages.NOT_RUNNING.format(container.id))
        await shim.signal(number)
        announce(self._events, container.record, "kill", signal=str(number))
        if container.record.status.status is Status.PAUSED:
            # Frozen processes take no signal: it acts once they go on.
            await blocking.run(self._open_cgroup(container.cgroup).thaw)
            self._set(container, Status.RUNNING)

    def _set(self, container: Container, status: Status) -> None:
        self._registry.save(container, container.record.with_status(status=status))

    # -- kill

    async def kill(self, reference: str, signal_name: str = "") -> None:
        """Send a signal; SIGKILL is waited for. Raises NotFound, Conflict (not running), InvalidArgument (signal)."""
        container = self._registry.find(reference)
        number = parse_signal(signal_name) if signal_name else int(signal.SIGKILL)
        await self._tasks.shielded(self._kill(container, number, reference))

    async def _kill(self, container: Container, number: int, reference: str) -> None:
        if not container.record.status.status.has_process:
            raise Conflict(messages.CANNOT_KILL.format(reference, container.id))
        if number == signal.SIGKILL:
            self._mark_stopped(container)
            await self.kill_and_wait(container)
            return
        async with container.lock:
            if not container.record.status.status.has_process:
                raise Conflict(messages.CANNOT_KILL.format(reference, container.id))
            config = container.record.config
            told = not config.stop_signal or parse_signal(config.stop_signal) == number
            if told and number in _ENDING:  # its end is then no failure to be repaired by the restart policy
                self._mark_stopped(container)
            await self._signal(container, number)

    # -- restart

    async def restart(self, reference: str, *, timeout_s: int | None = None, signal_name: str = "") -> None:
        """Stop if it runs, then start. Raises NotFound, and what a start raises."""
        container = self._registry.find(reference)
        number = parse_signal(signal_name) if signal_name else _stop_signal(container)
        await self._tasks.shielded(self._restart(container, timeout_s, number))

    async def _restart(self, container: Container, timeout_s: int | None, number: int) -> None:
        container.keep = True
        try:
            if container.record.status.status.is_running:
                await self.stop_container(container, timeout_s=timeout_s, number=number)
        finally:
            container.keep = False
        await self._starter.start_container(container)
        announce(self._events, container.record, "restart")

    # -- pause

    async def pause(self, reference: str) -> None:
        """Raises NotFound, Conflict."""
        await self._freeze(reference, Event.PAUSE)

    async def unpause(self, reference: str) -> None:
        """Raises NotFound, Conflict."""
        await self._freeze(reference, Event.UNPAUSE)

    async def _freeze(self, reference: str, event: Event) -> None:
        container = self._registry.find(reference)
        await self._tasks.shielded(self._freeze_container(container, event))

    async def _freeze_container(self, container: Container, event: Event) -> None:
        async with container.lock:
            record = container.record
            after = transition(record.status.status, event, cid=record.id, name=record.name)
            cgroup = self._open_cgroup(container.cgroup)
            if event is Event.PAUSE:  # before it stands still, services send nothing new to it
                await self._networks.withdraw(container.id, drain=False)
            try:
                await blocking.run(cgroup.freeze if event is Event.PAUSE else cgroup.thaw)
                self._set(container, after)
            finally:
                if container.record.status.status is not Status.PAUSED:
                    self._networks.restore(container.id)
            announce(self._events, container.record, str(event))


_ENDING = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGKILL})


def _stop_signal(container: Container) -> int:
    text = container.record.config.stop_signal
    return parse_signal(text) if text else int(signal.SIGTERM)


def _timeout(container: Container, asked: int | None) -> float | None:
    """Seconds to wait before SIGKILL; None is for ever."""
    seconds = asked
    if seconds is None:
        own = container.record.config.stop_timeout
        seconds = DEFAULT_TIMEOUT_S if own is None else own
    return None if seconds < 0 else float(seconds)


def _exit_of(container: Container) -> asyncio.Future[Ended]:
    future: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
    container.exit_waiters.append(future)
    return future


async def _ended_within(ended: asyncio.Future[Ended], seconds: float | None) -> bool:
    done, _pending = await asyncio.wait({ended}, timeout=seconds)
    return bool(done)
