"""Blobs by digest: `blobs/sha256/<hex>` is complete and verified, `ingest/` is on its way. Daemon; any thread.

A commit is: fsync the file, compare size and digest, rename, fsync the directory. What breaks off stays in `ingest/`;
the next ingest of the same ref goes on with it. Nothing here decides what is still needed: that is the collector's.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from corten.errors import Conflict, DataLoss, InvalidArgument, NotFound
from corten.lib.atomicfile import fsync_dir

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})\Z")
_READ = 1 << 20


class Ingest:
    """A blob on its way in; one writer at a time."""

    def __init__(self, store: ContentStore, path: Path) -> None:
        self._store = store
        self._path = path
        self._fd = _open_locked(path)
        self._hash = hashlib.sha256()
        self._offset = 0
        try:
            while data := os.read(self._fd, _READ):  # what an earlier try has left counts, and is verified too
                self._hash.update(data)
                self._offset += len(data)
        except OSError:
            self.close()
            raise

    @property
    def offset(self) -> int:
        """Bytes that are there."""
        return self._offset

    def write(self, data: bytes) -> None:
        """Append. Raises OSError (ENOSPC)."""
        view = memoryview(data)
        while view:
            written = os.write(self._fd, view)
            self._hash.update(view[:written])
            self._offset += written
            view = view[written:]

    def commit(self, digest: str, size: int) -> None:
        """Verify, make durable and visible. Raises DataLoss, and forgets the bytes, when they are other ones."""
        target = self._store.path(digest)
        actual = f"sha256:{self._hash.hexdigest()}"
        if self._offset != size or actual != digest:
            self.abort()
            raise DataLoss(f"wanted {digest} of {size} bytes, got {actual} of {self._offset} bytes")
        os.fsync(self._fd)
        os.rename(self._path, target)
        fsync_dir(target.parent)
        self.close()

    def abort(self) -> None:
        """Forget the bytes."""
        if self._fd >= 0:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)
            self.close()

    def close(self) -> None:
        """Let go and keep what is there; safe after commit and abort."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _open_locked(path: Path) -> int:
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


class ContentStore:
    """The blobs below one directory."""

    def __init__(self, root: Path) -> None:
        self._blobs = root / "blobs" / "sha256"
        self._ingest = root / "ingest"
        for directory in (self._blobs, self._ingest):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def path(self, digest: str) -> Path:
        """Where the blob is, or would be. Raises InvalidArgument."""
        match = _DIGEST.match(digest)
        if match is None:
            raise InvalidArgument(f"invalid digest: {digest[:100]!r}")
        return self._blobs / match[1]

    def size(self, digest: str) -> int | None:
        """Its size, or None when it is not here."""
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError:
            return None

    def open(self, digest: str) -> BinaryIO:
        """The blob to read. Raises NotFound."""
        try:
            return open(self.path(digest), "rb")
        except FileNotFoundError:
            raise NotFound(f"blob {digest} is not here", hint="pull or load the image again") from None

    def ingest(self, ref: str) -> Ingest:
        """Begin, or go on with, what `ref` (any text, often the digest) names. Raises Conflict, OSError."""
        return Ingest(self, self._ingest / hashlib.sha256(ref.encode()).hexdigest())

    def sweep(self, *, older_than_s: float) -> None:
        """Delete what broke off so long ago that nobody will go on with it; what is being written stays."""
        limit = time.time() - older_than_s
        for entry in list(os.scandir(self._ingest)):
            with contextlib.suppress(FileNotFoundError, Conflict):
                if entry.stat(follow_symlinks=False).st_mtime < limit:
                    fd = _open_locked(Path(entry.path))
                    os.unlink(entry.path)
                    os.close(fd)

    def remove(self, digest: str) -> None:
        """Delete a blob; nothing happens when it is not here."""
        with contextlib.suppress(FileNotFoundError):
            self.path(digest).unlink()

    def digests(self, *, older_than_s: float = 0) -> Iterator[str]:
        """All blobs, or those that are here for so long."""
        limit = time.time() - older_than_s
        for entry in list(os.scandir(self._blobs)):
            if re.fullmatch("[0-9a-f]{64}", entry.name) and (not older_than_s or entry.stat().st_mtime < limit):
                yield f"sha256:{entry.name}"
