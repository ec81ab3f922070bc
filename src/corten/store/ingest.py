"""A blob on its way into the content store: appended, or filled in several ranges at once, and hashed in order. Daemon.

What is there stays for the next ingest of the same ref, also after a crash. Bytes are hashed as the beginning without
gaps grows, by whoever closes a gap; who reads along (`reader`) may read so far. Nothing is visible before `commit`.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

from corten.errors import Conflict, DataLoss
from corten.lib.atomicfile import fsync_dir
from corten.lib.disk_full import saying
from corten.lib.faultpoint import reach
from corten.store.pieces import Pieces, pieces_path

_READ = 1 << 20


class Ingest:
    """One blob on its way in; thread-safe once it is split."""

    def __init__(self, path: Path, target: Callable[[str], Path]) -> None:
        self._path = path
        self._target = target
        self._lock = threading.Lock()
        self._fd = open_locked(path)
        self._hash = hashlib.sha256()
        self._offset = 0
        self._pieces: Pieces | None = None
        reach("ingest.opened")
        try:
            there = os.fstat(self._fd).st_size
            self._pieces = Pieces.load(pieces_path(path), there)
            # what an earlier try has left counts, and is verified too
            self._catch_up(self._pieces.prefix if self._pieces else there)
        except OSError:
            self.close()
            raise

    @property
    def offset(self) -> int:
        """Bytes that are there from the first on without a gap."""
        return self._offset

    @property
    def arrived(self) -> int:
        """Bytes that are there in all."""
        return self._pieces.arrived if self._pieces else self._offset

    def write(self, data: bytes) -> None:
        """Append to what is there without a gap. Raises OSError (ENOSPC)."""
        self.write_at(self._offset, data)

    def write_at(self, offset: int, data: bytes) -> None:
        """Store a part of a range; it follows what is there of its piece. Raises OSError (ENOSPC)."""
        view, position = memoryview(data), offset
        with saying(f"write {self._path}"):
            while view:
                written = os.pwrite(self._fd, view, position)
                position += written
                view = view[written:]
        reach("ingest.written")
        with self._lock:
            if self._pieces:
                with saying(f"write {self._path}"):
                    self._pieces.record(offset, len(data))
            skip = self._offset - offset
            if 0 <= skip < len(data):
                self._hash.update(memoryview(data)[skip:])
                self._offset += len(data) - skip
                if self._pieces:
                    self._catch_up(self._pieces.prefix)

    def split(self, size: int) -> None:
        """Let ranges of the blob of `size` bytes be claimed and written side by side. Raises OSError."""
        with self._lock, saying(f"write {self._path}"):
            if self._pieces is None or self._pieces.size != size:
                self._drop_pieces()
                self._pieces = Pieces.create(pieces_path(self._path), size, self._offset)

    def claim(self) -> tuple[int, int] | None:
        """A range (start, end) that nobody else brings; None when none is left. Only after `split`."""
        with self._lock:
            return self._pieces.claim() if self._pieces else None

    def release(self, end: int) -> None:
        """Give a claim back, brought or not."""
        with self._lock:
            if self._pieces:
                self._pieces.release(end)

    def reader(self) -> int:
        """A descriptor to read along with, up to `offset`; the caller closes it. Raises Conflict when it is over."""
        with self._lock:
            if self._fd < 0:
                raise Conflict(f"the blob {self._path.name} is not being written any more")
            # not by its name, which a commit is about to change; not dup(2), which would share the lock (flock(2))
            return os.open(f"/proc/self/fd/{self._fd}", os.O_RDONLY | os.O_CLOEXEC)

    def commit(self, digest: str, size: int) -> None:
        """Verify, make durable and visible. Raises DataLoss, and forgets the bytes, when they are other ones."""
        target = self._target(digest)
        actual = f"sha256:{self._hash.hexdigest()}"
        if self._offset != size or actual != digest:
            self.abort()
            raise DataLoss(f"wanted {digest} of {size} bytes, got {actual} of {self._offset} bytes")
        with saying(f"write blob {digest} to {target.parent}"):
            os.fsync(self._fd)
            reach("blob.synced")
            with self._lock:
                os.rename(self._path, target)
                self._drop_pieces()
            reach("blob.renamed")
            fsync_dir(target.parent)
        reach("blob.stored")
        self.close()

    def abort(self) -> None:
        """Forget the bytes."""
        with self._lock:
            if self._fd >= 0:
                # first the bytes: without them the account of them counts for nothing
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self._path)
                self._drop_pieces()
        self.close()

    def close(self) -> None:
        """Let go and keep what is there; safe after commit and abort."""
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1
            if self._pieces:
                self._pieces.close()
                self._pieces = None

    def _catch_up(self, end: int) -> None:
        while self._offset < end and (data := os.pread(self._fd, min(_READ, end - self._offset), self._offset)):
            self._hash.update(data)
            self._offset += len(data)

    def _drop_pieces(self) -> None:
        if self._pieces:
            self._pieces.remove()
            self._pieces.close()
            self._pieces = None


def open_locked(path: Path) -> int:
    """The file at `path`, made if missing, locked. Raises Conflict when somebody else has the lock."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Between open and lock the one before may have made a blob of the file: that is not ours to write.
            if os.path.samestat(os.fstat(fd), os.stat(path, follow_symlinks=False)):
                return fd
        except FileNotFoundError:
            pass
        except BlockingIOError as error:
            os.close(fd)
            raise Conflict(f"the blob {path.name} is being written by somebody else") from error
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
