"""Where two packages fit together by a few lines: counts, prepared interfaces, sweeping, housekeeping. Daemon only."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from corten.engine.containers.registry import Registry
from corten.engine.containers.service import ContainerService
from corten.engine.containers.status import Status
from corten.engine.disk_usage import explain
from corten.engine.events import Event, Events
from corten.engine.images.gc_policy import GcPolicy
from corten.engine.images.library import ImageLibrary
from corten.engine.images.listing import ImageListing
from corten.engine.images.service import ImageService
from corten.engine.networks.service import NetworkService
from corten.engine.volumes import VolumeService
from corten.lib import blocking
from corten.linux.heap import give_back
from corten.spec.docker.system import DiskUse
from corten.store.content import ContentStore
from corten.store.snapshots.driver import SnapshotDriver

if TYPE_CHECKING:
    from corten.build.builds import Builds

_LOG = logging.getLogger("corten.daemon")
_SWEEP_AFTER_S = 1.0
_CLOSE_S = 5.0
_CHECK_EACH_S = 60.0
_GIVE_EACH_S = 2.0
_BRINGS_FILES = {"pull", "load", "import", "tag"}
_LEAVES_FILES = {("container", "destroy"), ("image", "delete")}


class Counts:
    """The containers as `info` counts them."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def counts(self) -> tuple[int, int, int]:
        """(running, paused, stopped)."""
        running = paused = stopped = 0
        for container in self._registry:
            status = container.record.status.status
            if status is Status.PAUSED:
                paused += 1
            elif status.is_running:
                running += 1
            else:
                stopped += 1
        return running, paused, stopped


class Usage:
    """What takes space, for `system df`."""

    def __init__(
        self,
        *,
        containers: ContainerService,
        images: ImageListing,
        volumes: VolumeService,
        data_root: Path,
        library: ImageLibrary,
        content: ContentStore,
        snapshots: SnapshotDriver,
        builds: Builds,
    ) -> None:
        self._builds = builds
        self._containers = containers
        self._images = images
        self._volumes = volumes
        self._data_root = data_root
        self._library = library
        self._content = content
        self._snapshots = snapshots

    async def containers(self) -> list[Any]:
        """See UsageSource."""
        return list(await self._containers.list_(all_=True, size=True))

    async def images(self) -> tuple[int, list[Any]]:
        """See UsageSource."""
        size, rows = self._images.usage()
        return size, list(rows)

    async def volumes(self) -> list[Any]:
        """See UsageSource."""
        return list(await self._volumes.usage())

    async def build_cache(self) -> list[Any]:
        """See UsageSource."""
        return list(self._builds.cache.usage())

    async def all_bytes(self) -> list[DiskUse]:
        """See UsageSource."""
        unneeded = [node.key for node in await self._library.unneeded() if node.kind == "blob"]
        return await blocking.run(
            explain, self._data_root, blobs=self._content, unneeded=unneeded, layers=self._snapshots
        )


class Warmth:
    """Prepared sandboxes get their interface before anyone needs it, and give it back when they are not used."""

    def __init__(self, networks: NetworkService) -> None:
        self._networks = networks
        self._releases: set[asyncio.Task[None]] = set()

    def on_warm(self, cid: str, pid: int) -> None:
        """A sandbox is prepared. Without an interface it is as good as before: the start makes one."""
        try:
            self._networks.prewarm(cid, pid)
        except Exception as error:
            _LOG.debug("no interface for a prepared sandbox: %s", error)

    def on_cold(self, cid: str) -> None:
        """It is given up."""
        task = asyncio.ensure_future(self._networks.release(cid))
        self._releases.add(task)
        task.add_done_callback(self._releases.discard)


class Sweeper:
    """Deletes what images leave, in a quiet moment: layers kept for a container that is gone, files of deleted ones.

    What containers leave is deleted by their own side.
    """

    def __init__(self, *, snapshots: SnapshotDriver, images: ImageService, events: Events) -> None:
        self._snapshots = snapshots
        self._images = images
        self._purge_due = True
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        events.listen(self._on_event)

    def _on_event(self, event: Event) -> None:
        if (event.kind, event.action) in _LEAVES_FILES:
            self._purge_due |= event.kind == "image"
            self.schedule()

    def schedule(self) -> None:
        """Sweep soon; later calls before that put it off no further."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_SWEEP_AFTER_S, self._begin)

    def _begin(self) -> None:
        self._timer = None
        if self._task is not None and not self._task.done():
            self.schedule()
            return
        self._task = asyncio.ensure_future(self._sweep())

    async def _sweep(self) -> None:
        try:
            await self._images.reap()
            if self._purge_due:
                self._purge_due = False
                await blocking.run(self._snapshots.purge)
        except Exception:
            _LOG.exception("sweeping failed; it is tried again after the next removal")

    async def close(self) -> None:
        """Finish what is under way."""
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=_CLOSE_S)


class Housekeeper:
    """Looks at the disk, and gives memory back, once a minute and when an image has come."""

    def __init__(self, policy: GcPolicy, events: Events) -> None:
        self._gc_policy = policy
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._gave_back_at = float("-inf")
        events.listen(self._on_event)

    def _on_event(self, event: Event) -> None:
        if event.kind == "image" and event.action in _BRINGS_FILES:
            self._wake.set()

    def start(self) -> None:
        """The daemon serves."""
        self._task = asyncio.ensure_future(self._run())

    async def _run(self) -> None:
        while True:
            self._wake.clear()  # first: an image that comes meanwhile is looked at next
            wait_s = _CHECK_EACH_S
            try:
                await self._gc_policy.check()
                if not await self._give_back():
                    wait_s = _GIVE_EACH_S
            except Exception:
                _LOG.exception("housekeeping failed; it is tried again in a minute")
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()

    async def _give_back(self) -> bool:
        """Memory, of what an image has passed through most of all; False when that was done a moment ago: images may
        come one after the other."""
        now = asyncio.get_running_loop().time()
        if now - self._gave_back_at < _GIVE_EACH_S:
            return False
        self._gave_back_at = now
        await blocking.run(give_back)
        return True

    async def close(self) -> None:
        """No more looks; one that is under way is waited for."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=_CLOSE_S)
