"""Records and what belongs to them on disk, a directory each. Blocking; daemon.

    <sha256 of the ref>/<digits of a digest>    a blob: logs, an error's details, documents of the result
    <sha256 of the ref>/record                  the record (a BuildHistoryRecord), written last

A directory without a record is what a daemon that was killed has left, and is deleted. The record goes first when all
goes. Nothing is synced to the disk: after a power cut the last records may be gone.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from corten.build.buildkit.messages.history import Record
from corten.errors import InvalidArgument
from corten.lib.atomicfile import write_atomic
from corten.lib.disk_full import saying
from corten.lib.protobuf.wire import decode, encode
from corten.spec.digest import hex_of

_LOG = logging.getLogger("corten.build")
_RECORD = "record"


class HistoryStore:
    """One a daemon."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def load(self) -> Iterator[tuple[Record, int, dict[str, int]]]:
        """Each record, its bytes in all, and its blobs' sizes by digest. What is none is deleted, what cannot be read
        now is said, and stays. Raises OSError."""
        try:
            names = os.listdir(self._directory)
        except FileNotFoundError:
            return
        for name in names:
            place = self._directory / name
            try:
                raw = (place / _RECORD).read_bytes()
                record = decode(Record, raw)
                if self._place(record.ref) != place:
                    raise InvalidArgument("the record is another build's")
                blobs = {
                    f"sha256:{entry.name}": entry.stat(follow_symlinks=False).st_size
                    for entry in os.scandir(place)
                    if len(entry.name) == 64
                }
            except (FileNotFoundError, NotADirectoryError, InvalidArgument):
                shutil.rmtree(place, ignore_errors=True)
                continue
            except OSError as error:  # such as no descriptor left
                _LOG.warning("the record of a build cannot be read: %s", error)
                continue
            yield record, len(raw) + sum(blobs.values()), blobs

    def write(self, record: Record, blobs: Mapping[str, bytes]) -> int:
        """Keep a record with its blobs, by digest; the bytes of all. Raises DiskFull, OSError, and has kept nothing
        then."""
        place = self._place(record.ref)
        self.remove(record.ref)  # of an earlier build that was called so
        try:
            with saying("keep the record of a build"):
                place.mkdir(parents=True, exist_ok=True, mode=0o700)
                for digest, raw in blobs.items():
                    write_atomic(place / hex_of(digest), raw, durable=False)
                return self._write_record(place, record) + sum(map(len, blobs.values()))
        except BaseException:
            self.remove(record.ref)
            raise

    def update(self, record: Record) -> None:
        """Replace a record. Raises DiskFull, OSError."""
        with saying("keep the record of a build"):
            self._write_record(self._place(record.ref), record)

    def remove(self, ref: str) -> None:
        """Delete a record and its blobs."""
        place = self._place(ref)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(place / _RECORD)
        shutil.rmtree(place, ignore_errors=True)

    def read(self, ref: str, digest: str, offset: int, size: int) -> bytes:
        """A part of a blob. Raises FileNotFoundError."""
        with open(self._place(ref) / hex_of(digest), "rb") as file:
            file.seek(offset)
            return file.read(size)

    def _place(self, ref: str) -> Path:
        return self._directory / hashlib.sha256(ref.encode("utf-8", "surrogateescape")).hexdigest()

    @staticmethod
    def _write_record(place: Path, record: Record) -> int:
        raw = encode(record)
        write_atomic(place / _RECORD, raw, durable=False)
        return len(raw)
