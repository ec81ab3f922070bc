"""A blob that is read while it still arrives: the reader waits for bytes, and for the verdict at the end. Daemon.

Told of its growth by net threads, read in a stream thread. A reader's end of file comes only after digest and size were
verified and the blob is committed; bytes that turn out to be others, or a reader that is closed, make it fail.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from corten.engine.images.stores import Ingest
from corten.errors import Cancelled, Conflict, DataLoss

_READ = 1 << 20


class BytesForgotten(DataLoss):
    """What was read so far is not the blob; it is fetched anew."""

    code = "bytes-forgotten"


class GrowingBlob:
    """How far one blob is. It outlives its downloads: when one is given up, the next goes on where that ended."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.available = 0
        self.generation = 0
        self.complete = False
        self._ingest: Ingest | None = None

    def begin(self, ingest: Ingest) -> None:
        """A download starts from what `ingest` holds."""
        with self.changed:
            self._ingest = ingest
        self.grow(ingest.offset)

    def grow(self, available: int) -> None:
        """So many bytes are there now, from the first on."""
        with self.changed:
            if available > self.available:
                self.available = available
                self.changed.notify_all()

    def commit(self) -> None:
        """The blob was verified and is in the store."""
        with self.changed:
            self.complete, self._ingest = True, None
            self.changed.notify_all()

    def pause(self) -> None:
        """The download has ended; what it brought is kept for the next."""
        with self.changed:
            self._ingest = None

    def forget(self) -> None:
        """What was there is not the blob."""
        with self.changed:
            self.generation += 1
            self.available, self._ingest = 0, None
            self.changed.notify_all()

    def reader(self, on_read: Callable[[int], None]) -> TailReader | None:
        """A reader from the first byte on; None when no download runs. `on_read` hears how much was read."""
        with self.changed:
            if self._ingest is None:
                return None
            try:
                return TailReader(self, self._ingest.reader(), on_read)
            except Conflict:  # it has ended just now, and has not said so yet
                return None


class TailReader:
    """Reads a blob along with its download; a context manager. `stop` may be called from any thread."""

    def __init__(self, blob: GrowingBlob, fd: int, on_read: Callable[[int], None]) -> None:
        self._blob = blob
        self._fd = fd
        self._on_read = on_read
        self._position = 0
        self._stopped = False
        self.generation = blob.generation

    def __enter__(self) -> TailReader:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def stop(self) -> None:
        """Make this and every later read fail."""
        with self._blob.changed:
            self._stopped = True
            self._blob.changed.notify_all()

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes, waited for; none at the verified end. Raises BytesForgotten, Cancelled, OSError."""
        there = self._wait()
        data = os.pread(self._fd, min(there, size if 0 <= size <= _READ else _READ), self._position)
        self._position += len(data)
        self._on_read(self._position)
        return data

    def _wait(self) -> int:
        blob = self._blob
        with blob.changed:
            while True:
                if self._stopped:
                    raise Cancelled("context canceled")
                if self.generation != blob.generation:
                    raise BytesForgotten("the blob is fetched anew: what came before was not it")
                if blob.available > self._position or blob.complete:
                    return blob.available - self._position
                blob.changed.wait()
