"""Blobs by digest: `blobs/sha256/<hex>` is complete and verified, `ingest/` is on its way. Daemon; any thread.

A commit is: compare size and digest, fsync the file, rename, fsync the directory. What breaks off stays in `ingest/`;
the next ingest of the same ref goes on with it. Nothing here decides what is still needed: that is the collector's.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from corten.errors import Conflict, InvalidArgument, NotFound
from corten.store.ingest import Ingest, open_locked
from corten.store.pieces import pieces_path

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})\Z")
_SCRATCH = "new-"
_HEX = re.compile(r"[0-9a-f]{64}\Z")


class ContentStore:
    """The blobs below one directory."""

    def __init__(self, root: Path) -> None:
        self._blobs = root / "blobs" / "sha256"
        self._prefix = f"{self._blobs}/"
        self._ingest = root / "ingest"
        for directory in (self._blobs, self._ingest):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in os.listdir(self._ingest):
            if name.startswith(_SCRATCH):
                (self._ingest / name).unlink()  # a crash left it, and nobody can go on with it

    def path(self, digest: str) -> Path:
        """Where the blob is, or would be. Raises InvalidArgument."""
        return self._blobs / _hex_of(digest)

    def size(self, digest: str) -> int | None:
        """Its size, or None when it is not here. Raises InvalidArgument."""
        try:
            return os.stat(f"{self._prefix}{_hex_of(digest)}").st_size  # asked for often: a Path costs more than this
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
        return Ingest(self._ingest / hashlib.sha256(ref.encode()).hexdigest(), self.path)

    def scratch(self) -> Ingest:
        """Begin a blob that nobody could go on with later: its digest is known only in the end. Raises OSError."""
        return Ingest(self._ingest / f"{_SCRATCH}{secrets.token_hex(16)}", self.path)

    def sweep(self, *, older_than_s: float) -> int:
        """Delete what broke off so long ago that nobody will go on with it; what is being written stays.

        Returns how many bytes that gave back. Raises OSError.
        """
        limit = time.time() - older_than_s
        freed = 0
        for entry in list(os.scandir(self._ingest)):
            with contextlib.suppress(FileNotFoundError):
                of_another = entry.name.endswith(".pieces") and os.path.exists(entry.path.removesuffix(".pieces"))
                if entry.stat(follow_symlinks=False).st_mtime < limit and not of_another:
                    freed += self.discard(entry.name)
        return freed

    def discard(self, name: str) -> int:
        """Delete what broke off, by its file's name; nothing happens to what is being written. Returns bytes freed."""
        path = self._ingest / name
        try:
            fd = open_locked(path)
        except Conflict:
            return 0
        try:
            freed = os.fstat(fd).st_blocks * 512
            os.unlink(path)
            pieces_path(path).unlink(missing_ok=True)
        finally:
            os.close(fd)
        return freed

    def pending(self) -> list[tuple[str, int, float]]:
        """What is on its way or broke off: (file name, bytes on disk, time of the last write)."""
        found = []
        for entry in list(os.scandir(self._ingest)):
            with contextlib.suppress(FileNotFoundError):
                status = entry.stat(follow_symlinks=False)
                found.append((entry.name, status.st_blocks * 512, status.st_mtime))
        return found

    def orphans(self) -> list[str]:
        """Paths among the blobs that are no blob: nothing here makes them."""
        return [entry.path for entry in list(os.scandir(self._blobs)) if not _is_blob(entry)]

    def remove(self, digest: str) -> None:
        """Delete a blob; nothing happens when it is not here. Quick: its bytes are given back on the way out."""
        try:
            fd = os.open(self.path(digest), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return
        try:
            os.unlink(self.path(digest))
        finally:
            os.close(fd)

    def digests(self, *, older_than_s: float = 0) -> Iterator[str]:
        """All blobs, or those that are here for so long."""
        limit = time.time() - older_than_s
        for entry in list(os.scandir(self._blobs)):
            with contextlib.suppress(FileNotFoundError):
                if _is_blob(entry) and (not older_than_s or entry.stat().st_mtime < limit):
                    yield f"sha256:{entry.name}"


def _is_blob(entry: os.DirEntry[str]) -> bool:
    return bool(_HEX.match(entry.name)) and entry.is_file(follow_symlinks=False)


def _hex_of(digest: str) -> str:
    match = _DIGEST.match(digest)
    if match is None:
        raise InvalidArgument(f"invalid digest: {digest[:100]!r}")
    return match[1]
