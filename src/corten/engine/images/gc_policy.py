"""Keeps the data root from filling up with what nobody needs: by age each hour, and by the water marks. Daemon's loop.

`store.watermarks` decides; this looks and deletes. An event `daemon gc` and the log say what went and why.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from corten.engine.events import Events
from corten.engine.images.catalog import ImageEntry
from corten.engine.images.filters import created_s
from corten.engine.images.library import ImageLibrary
from corten.engine.images.service import ImageService
from corten.errors import CortenError
from corten.lib import blocking
from corten.spec.docker.progress import human_size
from corten.store.gc import Node
from corten.store.watermarks import Candidate, Marks, choose

_LOG = logging.getLogger("corten.gc")
KEEP_S = 3 * 24 * 3600  # what a broken pull has brought waits so long for the next try
_HOUR_S = 3600
Images = Literal["none", "dangling", "unused"]


@dataclass(frozen=True, slots=True)
class GcSettings:
    """`gc` of daemon.json: the marks, and which images may go above the high one."""

    marks: Marks
    images: Images


class PendingContent(Protocol):
    """What is on its way into the content store."""

    def pending(self) -> list[tuple[str, int, float]]:
        """(name, bytes, time of the last write) of each."""

    def discard(self, name: str) -> int:
        """Delete one that nobody writes; returns the bytes that gave back."""

    def sweep(self, *, older_than_s: float) -> int:
        """Delete those that are so old."""


class BuildSteps(Protocol):
    """The build cache."""

    def idle(self, shared: Collection[str]) -> list[tuple[str, int, float]]:
        """(key, bytes of its own, time of the last use) of each record whose layers are not among `shared`."""

    def forget(self, keys: Sequence[str]) -> list[Node]:
        """Remove records; returns what they kept."""


def fill(path: Path) -> tuple[int, int]:
    """(used, usable) bytes of the file system that holds `path`, as df(1) counts: root's reserve is not usable."""
    status = os.statvfs(path)
    used = (status.f_blocks - status.f_bfree) * status.f_frsize
    return used, used + status.f_bavail * status.f_frsize


class GcPolicy:
    """One a daemon. `measure` gives (used, usable) bytes."""

    def __init__(
        self,
        *,
        settings: GcSettings,
        library: ImageLibrary,
        images: ImageService,
        pending: PendingContent,
        steps: BuildSteps,
        events: Events,
        measure: Callable[[], tuple[int, int]],
        engine_id: str = "",
    ) -> None:
        self.settings = settings
        self._library = library
        self._images = images
        self._pending = pending
        self._steps = steps
        self._events = events
        self._measure = measure
        self._engine_id = engine_id
        self._swept_s = 0.0

    async def check(self) -> int:
        """Delete by age when an hour has passed, and by the marks when the high one is; the bytes that gave back."""
        if time.monotonic() - self._swept_s >= _HOUR_S or not self._swept_s:
            self._swept_s = time.monotonic()
            await self.sweep()
        freed, started = 0, False
        while True:
            used, total = self._measure()
            marks = self.settings.marks
            if not marks.high or used * 100 <= (marks.low if started else marks.high) * total:
                return freed
            chosen = choose(await self._candidates(), used=used, total=total, marks=marks, started=started)
            before = used
            for candidate in chosen:
                await self._delete(candidate)
            await blocking.run(self._library.purge)
            freed_now = max(before - self._measure()[0], 0)
            if not freed_now:
                return freed
            freed += freed_now
            started = True
            self._tell(chosen, freed_now, used * 100 // total)

    async def sweep(self) -> None:
        """Delete what broken pulls have left long ago."""
        await blocking.run(self._pending.sweep, older_than_s=KEEP_S)
        await self._library.collect(older_than_s=KEEP_S)

    async def _candidates(self) -> list[Candidate]:
        found = [
            Candidate("ingest", name, size, when) for name, size, when in await blocking.run(self._pending.pending)
        ]
        for node in await self._library.unneeded():
            size = await blocking.run(self._library.blob_size, node.key) if node.kind == "blob" else 0
            if size is not None and node.kind == "blob":
                found.append(Candidate("blob", node.key, size, 0.0))
        shared = {chain_id for entry in self._library.catalog for chain_id in entry.chain}
        found += [Candidate("build step", *record) for record in self._steps.idle(shared)]
        wanted = self.settings.images
        if wanted == "none":
            return found
        for entry, unique in self._images.unused():
            dangling = not entry.references
            if dangling or wanted == "unused":
                found.append(
                    Candidate("dangling image" if dangling else "unused image", entry.id, unique, _last_use_s(entry))
                )
        return found

    async def _delete(self, candidate: Candidate) -> None:
        try:
            if candidate.kind == "ingest":
                await blocking.run(self._pending.discard, candidate.key)
            elif candidate.kind == "blob":
                await self._library.discard([Node("blob", candidate.key)])
            elif candidate.kind == "build step":
                await self._library.discard(self._steps.forget([candidate.key]))
            else:
                await self._images.discard(candidate.key)
        except (CortenError, OSError) as error:
            _LOG.warning("%s is kept: %s", candidate.kind, error, extra={"key": candidate.key})

    def _tell(self, chosen: list[Candidate], freed: int, percent: int) -> None:
        for candidate in chosen:
            _LOG.info("deleted for want of space", extra={"kind": candidate.kind, "key": candidate.key})
        reason = f"{percent}% of the data root's file system were used, above the high-water mark"
        _LOG.warning("%s: %s given back", reason, human_size(freed))
        attributes = {"reason": reason, "reclaimed": str(freed), "count": str(len(chosen))}
        self._events.publish("daemon", "gc", self._engine_id, attributes)


def _last_use_s(entry: ImageEntry) -> float:
    """When an image was last pulled, loaded, built or named."""
    return entry.tagged_ns / 1e9 if entry.tagged_ns else created_s(entry.config.created)
