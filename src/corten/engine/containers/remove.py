"""Remove a container: its row first, then what the row stood for. Daemon.

After the row is gone the container does not exist; a daemon that dies before layer and directory are removed finds them
without a row and removes them (recovery). The layer is deleted off the client's path: nothing refers to it any more.
"""

from __future__ import annotations

import asyncio
import logging

from corten.engine.containers.announce import announce
from corten.engine.containers.collaborators import ShimPool, Snapshots
from corten.engine.containers.create import remove_directory
from corten.engine.containers.live import Container, Ended
from corten.engine.containers.record import ContainerRecord
from corten.engine.containers.registry import Registry
from corten.engine.containers.settings import ContainerSettings
from corten.engine.containers.shared_memory import unmount_shared
from corten.engine.containers.status import Event, transition
from corten.engine.containers.stop import Stopper
from corten.engine.containers.tasks import Tasks
from corten.engine.containers.volumes import MountSetup
from corten.engine.events import Events
from corten.errors import Conflict, CortenError, InvalidArgument
from corten.lib import blocking
from corten.spec.docker import messages

_LOG = logging.getLogger("corten.containers")
_PURGE_AFTER_S = 0.5


class Remover:
    """The use case of DELETE /containers/{id}."""

    def __init__(
        self,
        *,
        settings: ContainerSettings,
        registry: Registry,
        shims: ShimPool,
        snapshots: Snapshots,
        mounts: MountSetup,
        stopper: Stopper,
        events: Events,
        tasks: Tasks,
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._shims = shims
        self._snapshots = snapshots
        self._mounts = mounts
        self._stopper = stopper
        self._events = events
        self._tasks = tasks
        self._purging: asyncio.TimerHandle | None = None

    async def remove(self, reference: str, *, force: bool = False, volumes: bool = False, link: bool = False) -> None:
        """Raises NotFound, Conflict (running, or being removed)."""
        if link:
            raise InvalidArgument(f"Cannot get parent / for link name {reference[:128]}")
        container = self._registry.find(reference)
        await self._tasks.shielded(self._remove(container, force=force, volumes=volumes))

    async def _remove(self, container: Container, *, force: bool, volumes: bool) -> None:
        while not await self._removed(container, force=force, volumes=volumes):
            await self._stopper.kill_and_wait(container)

    async def _removed(self, container: Container, *, force: bool, volumes: bool) -> bool:
        """Remove it now; False for one that runs and is to be killed first: it may have been about to start before."""
        async with container.lock:
            if container.removed:
                # --rm removed it meanwhile: what was asked for is done, a second asker is told so.
                if force:
                    return True
                raise Conflict(messages.REMOVAL_IN_PROGRESS.format(container.name))
            if force and container.record.status.status.has_process:
                return False
            event = Event.REMOVE_FORCED if force else Event.REMOVE
            transition(container.record.status.status, event, cid=container.id, name=container.name)
            await self.remove_locked(container, volumes=volumes)
            return True

    async def remove_after_failed_start(self, container: Container) -> None:
        """A `--rm` container whose start failed goes at once, and whoever waits for that is told."""
        async with container.lock:
            if not container.removed and not container.record.status.status.has_process:
                await self.remove_locked(container, volumes=True)

    def _purge_later(self) -> None:
        """Files are deleted when the burst of removals and starts is over."""
        if self._purging is None:
            self._purging = asyncio.get_running_loop().call_later(_PURGE_AFTER_S, self._purge)

    def _purge(self) -> None:
        self._purging = None
        self._tasks.spawn(blocking.run(self._snapshots.purge), "deletion of removed layers")

    async def remove_locked(self, container: Container, *, volumes: bool) -> None:
        """Remove a container that does not run; the lock is held."""
        record = container.record
        container.cancel_restart()
        container.drop_pending()
        if not container.started_once:
            await self._shims.forget(record.id)
        self._registry.drop(container)
        if volumes and record.mounts:
            await self._mounts.remove_anonymous(record)
        announce(self._events, record, "destroy")
        container.notify_removed(Ended(code=record.status.exit_code))
        # Behind the waiters in the loop's queue: their answers are written first, then the files go, and a request
        # that comes next (rmi of the image) finds them gone.
        asyncio.get_running_loop().call_soon(self._remove_files, record)

    def _remove_files(self, record: ContainerRecord) -> None:
        try:
            if record.host_config.ipc_mode == "shareable":
                unmount_shared(self._settings, record.id)
            remove_directory(self._settings.directory(record.id))
        except OSError:
            _LOG.exception("directory of container %s could not be removed", record.id)
        try:
            self._snapshots.remove(record.id)
        except (CortenError, OSError):
            _LOG.exception("layer of container %s could not be removed", record.id)
        self._purge_later()
