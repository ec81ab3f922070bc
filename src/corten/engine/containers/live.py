"""What the daemon knows of a container besides its record: waiters, clients that wait for the start, timers. Daemon.

Nothing of it is stored: a daemon that starts again makes it anew from records and shims.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from corten.engine.containers.record import ContainerRecord
from corten.spec.docker.container import Health

if TYPE_CHECKING:
    from corten.engine.containers.collaborators import ShimHandle


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What a waiter gets: the exit code, or why there is none."""

    code: int
    error: str = ""


@dataclass(slots=True, kw_only=True)
class PendingAttach:
    """A client that attached before the start. `fd` is owned: handed to the shim, or closed."""

    fd: int
    stdin: bool
    stdout: bool
    stderr: bool
    stream: bool
    logs: bool
    preface: bytes
    detach_keys: str

    def close(self) -> None:
        """Give the client up."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


@dataclass(slots=True, eq=False)
class Container:
    """A container in memory. Changes of `record` go through Registry.save, under `lock`."""

    record: ContainerRecord
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    exit_waiters: list[asyncio.Future[Ended]] = field(default_factory=list)
    removal_waiters: list[asyncio.Future[Ended]] = field(default_factory=list)
    pending: list[PendingAttach] = field(default_factory=list)
    shim: ShimHandle | None = None
    cgroup: str = ""
    exec_ids: list[str] = field(default_factory=list)
    health: Health | None = None
    restart_timer: asyncio.TimerHandle | None = None
    restart_delay_s: float = 0.0
    removed: bool = False
    # set by stop and kill: this exit is not one for the restart policy
    stopping: bool = False
    started_once: bool = False
    # `docker restart` of a --rm container: this end does not remove it
    keep: bool = False
    # variables (NAME=value) of the process alone: secrets, which no record, inspect or exec may show
    hidden_env: tuple[str, ...] = field(default=(), repr=False)

    @property
    def id(self) -> str:
        """The id."""
        return self.record.id

    @property
    def name(self) -> str:
        """The name, without a slash."""
        return self.record.name

    def notify_exit(self, code: int) -> None:
        """The run is over: tell who waits for that."""
        waiters, self.exit_waiters = self.exit_waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(Ended(code=code))

    def notify_removed(self, ended: Ended) -> None:
        """The container is gone (or its removal failed): tell everyone."""
        waiters = [*self.exit_waiters, *self.removal_waiters]
        self.exit_waiters, self.removal_waiters = [], []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(ended)

    def drop_pending(self) -> None:
        """Close the clients that waited for a start."""
        pending, self.pending = self.pending, []
        for client in pending:
            client.close()

    def cancel_restart(self) -> None:
        """No further run is planned."""
        if self.restart_timer is not None:
            self.restart_timer.cancel()
            self.restart_timer = None
