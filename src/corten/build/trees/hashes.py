"""Content hashes of a context's files, remembered between builds, so that what did not change is not read. Blocking.

A file is known by device, inode, size and its two times: writing to it changes one of these, unless it happens within
the same tick of the clock as the reading. So a hash is only remembered when the file's times are older than the clock
was when its reading began (`is_settled`); git's index has the same rule (git, "racy-git"). Whole directories are known
by a digest of all that was seen of their entries.

Each context has one file below the data root, by its directory and its reader: what one user's file system claims says
nothing to another one's build. A file is a checksum, then records of fixed length; a damaged one is an empty one.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
import threading
from collections.abc import Iterable
from pathlib import Path

from corten.lib.atomicfile import write_atomic

CLOCK = 5  # CLOCK_REALTIME_COARSE of <time.h>, which Python has no name for: the clock that files' times are taken of
_MAGIC = b"corten-hashes-1\n"
_SUM_BYTES = 32
_TREE = struct.Struct("=32s32s")
_FILE = struct.Struct("=QQQqq32s")
_COUNT = struct.Struct("=I")
_TREES_LIMIT = 64
_FILES_LIMIT = 200_000  # 14 MB
_CONTEXTS_LIMIT = 64
_SECOND_NS = 1_000_000_000
_COARSE_NS = 2 * _SECOND_NS  # FAT's; ext3 has whole seconds
_FINE_NS = 20_000_000  # two ticks of the slowest clock, for file systems of other machines


FileKey = tuple[int, ...]  # device, inode, size, and the two times in nanoseconds


def is_settled(mtime_ns: int, ctime_ns: int, read_ns: int) -> bool:
    """Whether a file with these times, whose reading began at `read_ns`, would get others by any later writing.

    Times without a fraction are those of a file system that has none: there two seconds may be one tick.
    """
    is_coarse = mtime_ns % _SECOND_NS == 0 and ctime_ns % _SECOND_NS == 0
    return max(mtime_ns, ctime_ns) + (_COARSE_NS if is_coarse else _FINE_NS) < read_ns


class ContextHashes:
    """What is remembered of one context; of one build at a time, the last to save counts. For several threads."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._trees: dict[bytes, bytes] = {}
        self._files: dict[FileKey, bytes] | None = None
        self._raw = b""
        self._reading = threading.Lock()
        self._used: set[FileKey] = set()
        self._is_changed = False
        data = _read(path)
        if data:
            (count,) = _COUNT.unpack_from(data)
            end = _COUNT.size + count * _TREE.size
            self._trees = dict(_TREE.iter_unpack(data[_COUNT.size : end]))
            self._raw = data[end:]

    def tree(self, seen: bytes) -> bytes | None:
        """The content digest of a directory of which this was seen."""
        found = self._trees.pop(seen, None)
        if found is not None:
            self._trees[seen] = found  # the last used ones stay
        return found

    def put_tree(self, seen: bytes, digest: bytes) -> None:
        """Remember a directory's."""
        self._trees.pop(seen, None)
        self._trees[seen] = digest
        self._is_changed = True

    def file(self, key: FileKey) -> bytes | None:
        """The SHA-256 of a file's bytes; a file of which it is remembered has no attributes besides."""
        found = self._known().get(key)
        if found is not None:
            self._used.add(key)
        return found

    def put_file(self, key: FileKey, digest: bytes) -> None:
        """Remember a file's, which is settled."""
        self._known()[key] = digest
        self._used.add(key)
        self._is_changed = True

    def _known(self) -> dict[FileKey, bytes]:
        if self._files is None:
            with self._reading:
                if self._files is None:
                    self._files = {record[:5]: record[5] for record in _FILE.iter_unpack(self._raw)}
                    self._raw = b""
        return self._files

    def save(self) -> None:
        """Write what is new, or note that it was used. Raises OSError."""
        if self._path is None:
            return
        if not self._is_changed:
            with contextlib.suppress(OSError):
                os.utime(self._path)
            return
        trees = list(self._trees.items())[-_TREES_LIMIT:]
        body = _COUNT.pack(len(trees)) + b"".join(_TREE.pack(*tree) for tree in trees) + self._raw
        if self._files is not None:
            body += b"".join(_FILE.pack(*key, digest) for key, digest in self._kept(self._files))
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_atomic(self._path, _MAGIC + hashlib.sha256(body).digest() + body, durable=False)
        self._is_changed = False
        _bound(self._path.parent)

    def _kept(self, files: dict[FileKey, bytes]) -> Iterable[tuple[FileKey, bytes]]:
        """All of them; of too many those that were used."""
        if len(files) <= _FILES_LIMIT:
            return files.items()
        return [(key, digest) for key, digest in files.items() if key in self._used][:_FILES_LIMIT]


class HashMemory:
    """All contexts' files, below `directory`; one a daemon."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def open(self, root_fd: int, uid: int) -> ContextHashes:
        """What is remembered of a directory that this user lets read. Raises OSError."""
        status = os.fstat(root_fd)
        name = hashlib.sha256(f"{uid} {status.st_dev} {status.st_ino}".encode()).hexdigest()[:32]
        return ContextHashes(self._directory / name)

    def prune(self) -> int:
        """Forget everything; how many bytes it had. Raises OSError."""
        return sum(_remove(path) for path in _files(self._directory))


def _read(path: Path | None) -> bytes:
    """A file's body, if it is whole."""
    if path is None:
        return b""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return b""
    start = len(_MAGIC) + _SUM_BYTES
    body = data[start:]
    if not data.startswith(_MAGIC) or hashlib.sha256(body).digest() != data[len(_MAGIC) : start]:
        return b""
    return body


def _files(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except FileNotFoundError:
        return []


def _bound(directory: Path) -> None:
    """Forget the contexts that were used least recently."""
    times: list[tuple[float, Path]] = []
    for path in _files(directory):
        with contextlib.suppress(FileNotFoundError):
            times.append((path.stat().st_mtime, path))
    for _time, path in sorted(times)[:-_CONTEXTS_LIMIT]:
        _remove(path)


def _remove(path: Path) -> int:
    try:
        size = path.stat().st_size
        path.unlink()
    except FileNotFoundError:
        return 0
    return size
