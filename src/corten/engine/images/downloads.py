"""Downloads of blobs, shared by all pulls that want the same one, and how many run at once. Daemon's loop; net threads.

One pull brings a blob, the others follow its progress; when that one is cancelled or fails, the next takes over where
it ended, with a source and credentials of its own. Further threads help with the ranges of a large blob when no other
layer waits for its turn.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from corten.engine.images.growing import GrowingBlob
from corten.engine.images.library import ImageLibrary
from corten.engine.images.progress import Progress, run_cancellable
from corten.engine.images.sources import ImageSource
from corten.engine.images.stores import Ingest
from corten.errors import DataLoss
from corten.lib import blocking
from corten.spec.oci_image import Descriptor

_TRIES = 3
_HELPERS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What one pull wants to hear of a download; called from threads."""

    downloading: Callable[[int], None]
    retrying: Callable[[int], None]
    verifying: Callable[[], None]


@dataclass(slots=True, eq=False)
class Download:
    """One blob on its way, and who waits for it."""

    descriptor: Descriptor
    growing: GrowingBlob = field(default_factory=GrowingBlob)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    watches: list[Watch] = field(default_factory=list)
    users: int = 0

    def tell(self, word: Callable[[Watch], None]) -> None:
        """Say something to all who watch."""
        for watch in tuple(self.watches):
            word(watch)


class Downloads:
    """All downloads of the daemon."""

    def __init__(self, library: ImageLibrary, *, at_once: int) -> None:
        self._library = library
        self._running: dict[str, Download] = {}
        self.limit(at_once)

    def limit(self, at_once: int) -> None:
        """How many run at once; those under way are not counted anew."""
        self._slots = asyncio.Semaphore(at_once)

    def join(self, descriptor: Descriptor) -> Download:
        """The download of a blob, made if there is none; to be left again."""
        download = self._running.setdefault(descriptor.digest, Download(descriptor))
        download.users += 1
        return download

    def leave(self, download: Download) -> None:
        """Forget the download when nobody else has it."""
        download.users -= 1
        if not download.users:
            del self._running[download.descriptor.digest]

    async def bring(self, download: Download, source: ImageSource, watch: Watch, progress: Progress) -> None:
        """Have the blob here: bring it, or wait for who does. Raises what source and disk raise."""
        download.watches.append(watch)
        try:
            async with download.turn:
                if await blocking.run(self._library.blob_size, download.descriptor.digest) is None:
                    await self._bring(download, source, progress)
                elif not download.growing.complete:
                    download.growing.forget()  # it came another way: who reads along must begin anew, from there
        finally:
            download.watches.remove(watch)

    async def _bring(self, download: Download, source: ImageSource, progress: Progress) -> None:
        for left in reversed(range(_TRIES)):
            landing = _Landing(download, asyncio.get_running_loop(), self._slots)
            try:
                async with self._slots:
                    await run_cancellable(progress, "net", self._transfer, download, source, landing)
            except DataLoss:
                # what lay there from an earlier try, or a mirror, may be what is wrong: once more from the start
                if not left:
                    raise
            else:
                return

    def _transfer(self, download: Download, source: ImageSource, landing: _Landing) -> None:
        descriptor, growing = download.descriptor, download.growing
        ingest = self._library.ingest(f"layer-{descriptor.digest.replace(':', '-')}")
        landing.open(ingest)
        try:
            source.blob(
                descriptor,
                landing,
                on_progress=lambda done: download.tell(lambda watch: watch.downloading(done)),
                on_retry=lambda seconds: download.tell(lambda watch: watch.retrying(seconds)),
            )
            download.tell(lambda watch: watch.verifying())
            ingest.commit(descriptor.digest, descriptor.size)
            growing.commit()
        except DataLoss:
            landing.end()
            growing.forget()
            ingest.abort()
            raise
        finally:
            landing.end()
            growing.pause()
            if not ingest.arrived:
                ingest.abort()  # nothing to go on with
            ingest.close()


class _Landing:
    """Where a blob's bytes arrive: the ingest, whose growth is told, and the helpers' way in."""

    def __init__(self, download: Download, loop: asyncio.AbstractEventLoop, slots: asyncio.Semaphore) -> None:
        self._download = download
        self._loop = loop
        self._slots = slots
        self._helpers: set[asyncio.Task[None]] = set()
        self._state = threading.Condition()
        self._at_work = 0
        self._ended = False
        self._work: Callable[[], bool] | None = None

    def open(self, ingest: Ingest) -> None:
        """Begin with what `ingest` holds."""
        self._ingest = ingest
        self.split, self.claim, self.release = ingest.split, ingest.claim, ingest.release
        self._download.growing.begin(ingest)
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._download.begun.set)

    @property
    def offset(self) -> int:
        """Bytes from the first on."""
        return self._ingest.offset

    @property
    def arrived(self) -> int:
        """Bytes in all."""
        return self._ingest.arrived

    def write(self, data: bytes) -> None:
        """Append, and tell of it."""
        self._ingest.write(data)
        self._download.growing.grow(self._ingest.offset)

    def write_at(self, offset: int, data: bytes) -> None:
        """Store a part of a range, and tell of it."""
        self._ingest.write_at(offset, data)
        self._download.growing.grow(self._ingest.offset)

    def offer(self, work: Callable[[], bool]) -> None:
        """Let others bring ranges, too; from the net thread."""
        self._work = work
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._call_helpers)

    def _call_helpers(self) -> None:
        if not self._ended:
            self._helpers |= {self._loop.create_task(self._help()) for _ in range(_HELPERS)}

    async def _help(self) -> None:
        """One range at a time, so that other layers' turns come in between."""
        more = True
        while more:
            async with self._slots:
                more = await blocking.run(self._bring_range, pool="net")

    def _bring_range(self) -> bool:
        with self._state:
            if self._ended or self._work is None:
                return False
            self._at_work += 1
        try:
            return self._work()
        finally:
            with self._state:
                self._at_work -= 1
                self._state.notify_all()

    def end(self) -> None:
        """No more help; those at work are waited for. From the net thread."""
        with self._state:
            self._ended = True
            while self._at_work:
                self._state.wait()
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._dismiss)

    def _dismiss(self) -> None:
        for helper in self._helpers:
            helper.cancel()
