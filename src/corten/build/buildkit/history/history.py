"""The builds that run and those that there were, for whoever asks or listens. Daemon's loop.

A build that runs is in memory alone: what a daemon that was killed was at has no record, as with BuildKit.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field

from msgspec.structs import replace

from corten.build.buildkit.history.bounds import MOST_PINNED, Kept, to_forget
from corten.build.buildkit.history.selection import newest, selection
from corten.build.buildkit.history.store import HistoryStore
from corten.build.buildkit.messages.history import COMPLETE, DELETED, STARTED, Event, Record
from corten.engine.images.settled import never_half_done
from corten.errors import CortenError, NotFound, ResourceExhausted
from corten.lib import blocking

_LOG = logging.getLogger("corten.build")
_LISTENERS = 256
_QUEUE = 4096  # events that a listener may be behind


@dataclass(slots=True, eq=False)
class _Entry:
    """A build that is over; `blobs` are sizes by digest."""

    record: Record
    size: int
    blobs: dict[str, int] = field(default_factory=dict)


class History:
    """One a daemon."""

    def __init__(self, store: HistoryStore) -> None:
        self._store = store
        self._entries: dict[str, _Entry] = {}
        self._running: dict[str, Record] = {}
        self._listeners: set[asyncio.Queue[Event]] = set()
        self._lock = asyncio.Lock()
        self._is_loaded = False
        self._writing: set[asyncio.Task[None]] = set()

    @property
    def listeners(self) -> int:
        """How many hear of what happens."""
        return len(self._listeners)

    # -- what happens

    def begun(self, record: Record) -> None:
        """A build runs."""
        self._running[record.ref] = record
        self._tell(Event(type=STARTED, record=record))

    def ended(self, record: Record, finish: Callable[[], Mapping[str, bytes]]) -> None:
        """It is over: keep its record, which takes a moment. `finish` completes it in a thread, and gives its blobs."""
        self._running.pop(record.ref, None)
        task = asyncio.get_running_loop().create_task(self._keep(record, finish))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def _keep(self, record: Record, finish: Callable[[], Mapping[str, bytes]]) -> None:
        try:
            blobs = await blocking.run(finish)
            async with self._lock:
                await self._load()
                size = await blocking.run(self._store.write, record, blobs)
                sizes = {digest: len(raw) for digest, raw in blobs.items()}
                self._entries[record.ref] = _Entry(record, size, sizes)
        except (CortenError, OSError) as error:  # a build is no worse for it
            _LOG.warning("the record of a build cannot be kept: %s", error)
            return
        except Exception:
            _LOG.exception("the record of a build cannot be kept")
            return
        self._tell(Event(type=COMPLETE, record=record))
        await self.collect()

    async def collect(self) -> None:
        """Let go of what is too old or too much. Raises OSError."""
        async with self._lock:
            await self._load()
            kept = [
                Kept(
                    ref=ref,
                    ended_s=entry.record.completed_at.seconds if entry.record.completed_at is not None else 0,
                    size=entry.size,
                    pinned=entry.record.pinned,
                )
                for ref, entry in self._entries.items()
            ]
            for ref in to_forget(kept, time.time()):
                await self._remove(ref)

    # -- what is asked

    async def listen(
        self, *, ref: str = "", filters: list[str], limit: int = 0, active: bool, once: bool
    ) -> AsyncGenerator[Event, None]:
        """The builds that there are, and unless `once` what happens then. Raises InvalidArgument."""
        chosen = selection(filters, time.time())
        await self._settle()
        if not once and len(self._listeners) >= _LISTENERS:
            raise ResourceExhausted("too many clients listen to the history of builds")
        queue: asyncio.Queue[Event] = asyncio.Queue(_QUEUE)
        if not once:
            self._listeners.add(queue)
        try:
            over = {} if active else {one: entry.record for one, entry in self._entries.items()}
            wanted = [one for one in (*over.values(), *self._running.values()) if (not ref or one.ref == ref)]
            for record in newest([one for one in wanted if chosen(one)], limit):
                yield Event(type=STARTED if record.completed_at is None else COMPLETE, record=record)
            while not once:
                event = await queue.get()
                record_of = event.record or Record()
                if (not ref or record_of.ref == ref) and (event.type == DELETED or chosen(record_of)):
                    yield event
        finally:
            self._listeners.discard(queue)

    async def find(self, ref: str) -> Record | None:
        """The record of a build that is over, if there is one."""
        await self._settle()
        entry = self._entries.get(ref)
        return entry.record if entry is not None else None

    async def size(self, digest: str) -> int:
        """The size of a blob. Raises NotFound."""
        await self._settle()
        return self._entries[self._holder(digest)].blobs[digest]

    async def read(self, digest: str, offset: int, size: int) -> bytes:
        """A part of a blob. Raises NotFound."""
        holder = self._holder(digest)
        try:
            return await blocking.run(self._store.read, holder, digest, offset, size)
        except FileNotFoundError as error:
            raise NotFound(f"content {digest}: not found") from error

    def _holder(self, digest: str) -> str:
        for ref, entry in self._entries.items():
            if digest in entry.blobs:
                return ref
        raise NotFound(f"content {digest[:80]}: not found")

    # -- what clients do to records

    @never_half_done
    async def delete(self, ref: str) -> None:
        """Forget a build. Nothing happens when it is not there."""
        await self._settle()
        async with self._lock:
            if ref in self._entries:
                await self._remove(ref)

    @never_half_done
    async def pin(self, ref: str, pinned: bool) -> None:
        """Keep a record however old it gets, or not. Raises NotFound, ResourceExhausted, OSError."""
        await self._settle()
        async with self._lock:
            entry = self._entries.get(ref)
            if entry is None:
                raise NotFound(f"failed to retrieve ref {ref[:64]}: not found")
            if (
                pinned
                and not entry.record.pinned
                and sum(one.record.pinned for one in self._entries.values()) >= MOST_PINNED
            ):
                raise ResourceExhausted(f"{MOST_PINNED} builds are pinned already")
            record = replace(entry.record, pinned=pinned, generation=entry.record.generation + 1)
            await blocking.run(self._store.update, record)
            entry.record = record
        self._tell(Event(type=COMPLETE, record=entry.record))

    # -- inside

    async def _settle(self) -> None:
        """Wait until what has ended is written, and known."""
        if self._writing:
            await asyncio.wait(list(self._writing))
        async with self._lock:
            await self._load()

    async def _load(self) -> None:
        if self._is_loaded:
            return
        try:
            found = await blocking.run(lambda: list(self._store.load()))
        except OSError as error:  # which is no reason to build nothing
            _LOG.warning("the history of builds cannot be read: %s", error)
            return
        for record, size, blobs in found:
            self._entries.setdefault(record.ref, _Entry(record, size, blobs))
        self._is_loaded = True

    async def _remove(self, ref: str) -> None:
        del self._entries[ref]
        await blocking.run(self._store.remove, ref)
        self._tell(Event(type=DELETED, record=Record(ref=ref)))

    def _tell(self, event: Event) -> None:
        for queue in self._listeners:
            if queue.full():
                queue.get_nowait()  # of one that does not read: the oldest goes
            queue.put_nowait(event)
