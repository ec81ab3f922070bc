"""After a start of the daemon: what was recorded against what runs. `reconcile` is pure. Daemon.

Truth: the database says what was asked and what ended, the shim directories what runs now. Whatever has no row is
half-made and goes. wire.py calls, in this order: `observe` (and gives its answer to the networks), then `finish`.
"""

from __future__ import annotations

import contextlib
import logging
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from corten.engine.containers.collaborators import Networks, ShimPool, Snapshots
from corten.engine.containers.create import remove_directory
from corten.engine.containers.exits import Supervisor
from corten.engine.containers.launch import cgroup_path
from corten.engine.containers.live import Container
from corten.engine.containers.record import ContainerRecord
from corten.engine.containers.registry import Registry
from corten.engine.containers.remove import Remover
from corten.engine.containers.restart import FIRST_DELAY_S, wants_restart
from corten.engine.containers.settings import ContainerSettings
from corten.engine.containers.shared_memory import unmount_shared
from corten.engine.containers.start import Starter
from corten.engine.containers.status import Status
from corten.engine.containers.tasks import Tasks
from corten.engine.containers.volumes import MountSetup
from corten.errors import CortenError
from corten.lib import blocking
from corten.shim.client import Exit, Recovered

_LOG = logging.getLogger("corten.recovery")
_ID = re.compile(r"[0-9a-f]{64}\Z")
LOST_CODE = 255  # as dockerd: it ended while nobody looked


class Do(StrEnum):
    """What recovery does with one container."""

    ADOPT = "adopt"  # it runs, with a living shim
    RECORD_EXIT = "record-exit"  # it ended, its shim left exit.json
    RECORD_LOSS = "record-loss"  # it should run, and nothing is left of it
    DISCARD_SHIM = "discard-shim"  # a start that was never recorded, or no container at all
    CLEAR = "clear"  # an exit that is recorded already
    RESUME_RESTART = "resume-restart"  # it waited for its next run
    START = "start"  # its policy wants it to run
    REMOVE = "remove"  # --rm, and it does not run
    ABANDON = "abandon"  # work of a daemon that ended, such as a build's step, running or not


@dataclass(frozen=True, slots=True)
class Action:
    """One step; `found` is what the shims had of the container."""

    do: Do
    cid: str
    found: Recovered | None = None


def reconcile(records: Mapping[str, ContainerRecord], found: Iterable[Recovered]) -> list[Action]:
    """The steps that make memory, disk and processes agree."""
    shims = {entry.cid: entry for entry in found}
    actions = []
    for cid, record in records.items():
        entry = shims.pop(cid, None)
        status = record.status.status
        if status.has_process:
            if entry is None:
                actions.append(Action(Do.RECORD_LOSS, cid))
            elif entry.shim is not None:
                actions.append(Action(Do.ADOPT, cid, entry))
            else:
                actions.append(Action(Do.RECORD_EXIT if entry.exit is not None else Do.RECORD_LOSS, cid, entry))
            continue
        if entry is not None:
            actions.append(Action(Do.DISCARD_SHIM if entry.shim is not None else Do.CLEAR, cid, entry))
        if record.host_config.auto_remove:
            actions.append(Action(Do.REMOVE, cid))
        elif status is Status.RESTARTING:
            actions.append(Action(Do.RESUME_RESTART, cid))
        elif status is Status.EXITED and _wants_start(record):
            actions.append(Action(Do.START, cid))
    actions += [Action(Do.ABANDON, cid) for cid, record in records.items() if record.owner]
    for cid, entry in shims.items():
        actions.append(Action(Do.DISCARD_SHIM if entry.shim is not None else Do.CLEAR, cid, entry))
    return actions


def _wants_start(record: ContainerRecord) -> bool:
    return bool(record.status.started_ns) and wants_restart(
        record.host_config.restart_policy,
        exit_code=record.status.exit_code,
        restart_count=record.status.restart_count,
        manually_stopped=record.status.manually_stopped,
    )


class Recovery:
    """Carries the steps out."""

    def __init__(
        self,
        *,
        settings: ContainerSettings,
        registry: Registry,
        mounts: MountSetup,
        networks: Networks,
        shims: ShimPool,
        snapshots: Snapshots,
        supervisor: Supervisor,
        remover: Remover,
        starter: Starter,
        tasks: Tasks,
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._mounts = mounts
        self._networks = networks
        self._shims = shims
        self._snapshots = snapshots
        self._supervisor = supervisor
        self._remover = remover
        self._starter = starter
        self._tasks = tasks
        self._actions: list[Action] = []

    async def observe(self) -> dict[str, int]:
        """Load the rows, find the shims; returns the pid of every container that runs, for the networks."""
        self._registry.load()
        self._supervisor.hold()
        found = await self._shims.recover()
        self._actions = reconcile({container.id: container.record for container in self._registry}, found)
        return {
            action.cid: action.found.shim.pid
            for action in self._actions
            if action.do is Do.ADOPT and action.found is not None and action.found.shim is not None
        }

    async def finish(self) -> None:
        """Everything else; a failing step is logged and does not stop the others."""
        later: list[Action] = []
        for action in self._actions:
            if action.do in (Do.START, Do.RESUME_RESTART, Do.ABANDON):
                later.append(action)
                continue
            try:
                await self._carry_out(action)
            except (CortenError, OSError):
                _LOG.exception("recovery of container %s: %s failed", action.cid, action.do)
        self._supervisor.release()
        await blocking.run(self._sweep, frozenset(container.id for container in self._registry))
        for action in later:
            container = self._registry.get(action.cid)
            if container is not None and action.do is Do.ABANDON:
                self._tasks.spawn(
                    self._remover.remove(container.id, force=True, volumes=True), f"removal of {action.cid}"
                )
            elif container is not None:
                self._run_again(container, action.do)
        self._actions = []

    async def _carry_out(self, action: Action) -> None:
        container, found = self._registry.get(action.cid), action.found
        if action.do is Do.DISCARD_SHIM:
            assert found is not None
            assert found.shim is not None
            _LOG.warning("container %s: a start that was cut off is undone", action.cid)
            await found.shim.discard()
            return
        if action.do is Do.CLEAR:
            self._shims.clear(action.cid)
            return
        if container is None:
            return
        container.cgroup = cgroup_path(container.record, self._shims.cgroup_path(container.id))
        if action.do is Do.ADOPT:
            self._adopt(container, found)
            if container.record.status.status is Status.PAUSED:
                await self._networks.withdraw(container.id, drain=False)
        elif action.do is Do.RECORD_EXIT:
            assert found is not None
            assert found.exit is not None
            await self._supervisor.exited(container, found.exit)
            self._shims.clear(action.cid)
        elif action.do is Do.RECORD_LOSS:
            _LOG.warning("container %s ran when the daemon ended and does not any more", action.cid)
            ended = Exit(code=LOST_CODE, oom_killed=False, finished_ns=time.time_ns())
            await self._supervisor.lost(container, ended)
        elif action.do is Do.REMOVE:
            await self._remover.remove(action.cid, force=True, volumes=True)

    def _adopt(self, container: Container, found: Recovered | None) -> None:
        assert found is not None
        assert found.shim is not None
        container.shim = found.shim
        container.started_once = True
        if container.record.status.pid != found.shim.pid:
            self._registry.save(container, container.record.with_status(pid=found.shim.pid))
        self._mounts.adopt(container.record)
        self._supervisor.on_adopted(container)

    def _run_again(self, container: Container, do: Do) -> None:
        if do is Do.RESUME_RESTART:
            self._supervisor.restart_in(container, FIRST_DELAY_S)
            return
        self._tasks.spawn(self._starter.start_container(container), f"start of container {container.id}")

    def _sweep(self, known: frozenset[str]) -> None:
        """Directories and layers that have no row. Blocking."""
        base = self._settings.data_root / "containers"
        if base.is_dir():
            for directory in base.iterdir():
                if directory.name not in known and _ID.match(directory.name):
                    unmount_shared(self._settings, directory.name)
                    with contextlib.suppress(OSError):
                        remove_directory(directory)
        stored = self._snapshots.keys()
        for key in stored:
            if key not in known and _ID.match(key):
                try:
                    self._snapshots.remove(key)
                except (CortenError, OSError):
                    _LOG.exception("the layer of the unknown container %s stays", key)
        self._snapshots.purge()
