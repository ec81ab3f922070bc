"""Attach clients to a container's streams: to the shim, which talks to them itself; or kept until the start. Daemon.

`docker run` attaches before it starts: such a client waits here, and the shim has it before the process runs, so that
no output is lost. A container that does not run answers `logs=1` from its log.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from corten.engine.containers.announce import announce
from corten.engine.containers.detach import parse_detach_keys
from corten.engine.containers.live import Container, PendingAttach
from corten.engine.containers.registry import Registry
from corten.engine.containers.status import Status
from corten.engine.containers.tasks import Tasks
from corten.engine.events import Events
from corten.errors import Conflict, ResourceExhausted
from corten.lib import blocking
from corten.shim.logs import replay
from corten.spec.docker import messages

if TYPE_CHECKING:
    from corten.engine.containers.exec import ExecService

_MAX_PENDING = 64
_WRITE_S = 30.0
_STREAM = {"stdout": 1, "stderr": 2}


class Taken(Protocol):
    """A client's connection (api.routing.Hijacked)."""

    @property
    def fd(self) -> int:
        """The connection; the taker's to close."""

    @property
    def preface(self) -> bytes:
        """What the client sent already."""


Hijack = Callable[[], Awaitable[Taken]]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachOptions:
    """The query of an attach."""

    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    stream: bool = False
    logs: bool = False
    detach_keys: str = ""


class AttachService:
    """The use cases of attach and resize."""

    def __init__(self, *, registry: Registry, events: Events, tasks: Tasks, execs: ExecService) -> None:
        self._registry = registry
        self._events = events
        self._tasks = tasks
        self._execs = execs

    def is_tty(self, reference: str) -> bool:
        """Whether the streams are raw. Raises NotFound."""
        return self._registry.find(reference).record.config.tty

    async def attach(self, reference: str, options: AttachOptions, hijack: Hijack) -> None:
        """Raises NotFound, Conflict before the connection is taken over; nothing after it."""
        container = self._registry.find(reference)
        status = container.record.status.status
        if status is Status.PAUSED:
            raise Conflict(messages.ATTACH_PAUSED)
        if status is Status.RESTARTING:
            raise Conflict(messages.ATTACH_RESTARTING)
        parse_detach_keys(options.detach_keys)
        _sweep(container)
        if len(container.pending) >= _MAX_PENDING:
            raise ResourceExhausted(f"container {container.id} has too many clients that wait for its start")
        taken = await hijack()
        client = PendingAttach(
            fd=taken.fd,
            stdin=options.stdin and container.record.config.open_stdin,
            stdout=options.stdout,
            stderr=options.stderr,
            stream=options.stream,
            logs=options.logs,
            preface=taken.preface,
            detach_keys=options.detach_keys,
        )
        try:
            await self._place(container, client)
        except BaseException:
            client.close()
            raise
        announce(self._events, container.record, "attach")

    async def _place(self, container: Container, client: PendingAttach) -> None:
        if client.logs and not container.record.status.status.has_process and container.record.status.started_ns:
            await blocking.run(_write_log, client, container.record.log_path, container.record.config.tty)
            client.logs = False
        async with container.lock:  # not between the moment a start takes the waiting clients and its end
            shim = container.shim
            if shim is None or not container.record.status.status.has_process:
                if client.stream and not container.removed:
                    container.pending.append(client)
                else:
                    client.close()
                return
            try:
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
                client.close()

    async def resize(self, reference: str, width: int, height: int) -> None:
        """Raises NotFound, Conflict (not running)."""
        container = self._registry.find(reference)
        shim = container.shim
        if shim is None or not container.record.status.status.has_process:
            raise Conflict(messages.NOT_RUNNING.format(container.id))
        if width > 0 and height > 0:
            await shim.resize(width, height)
            announce(self._events, container.record, "resize", height=str(height), width=str(width))

    def on_detach(self, cid: str, exec_id: str) -> None:
        """A client typed the detach keys."""
        container = self._registry.get(cid)
        if container is None:
            return
        if exec_id:
            self._execs.detached(container, exec_id)
        else:
            announce(self._events, container.record, "detach")


def _sweep(container: Container) -> None:
    """Forget waiting clients that closed their connection (a half-close is not one)."""
    if not container.pending:
        return
    poll = select.poll()
    for client in container.pending:
        poll.register(client.fd, 0)
    gone = {fd for fd, events in poll.poll(0) if events & (select.POLLHUP | select.POLLERR | select.POLLNVAL)}
    for client in [client for client in container.pending if client.fd in gone]:
        container.pending.remove(client)
        client.close()


def _write_log(client: PendingAttach, path: str, tty: bool) -> None:
    """The log so far, as frames, or raw for a terminal. Blocking, within a bound; a client that is gone is none."""
    if not path:
        return
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(client.fd)) as sock:
        sock.settimeout(_WRITE_S)
        for stream, data in replay(path):
            if (stream == "stdout" and not client.stdout) or (stream == "stderr" and not client.stderr):
                continue
            head = b"" if tty else bytes((_STREAM.get(stream, 1), 0, 0, 0)) + len(data).to_bytes(4, "big")
            sock.sendall(head + data)
