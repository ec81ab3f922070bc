"""A pack as the objects in it, each written out whole into one file, by id. Blocking; disk threads.

Nobody vouches for a pack. What it says is large may cost disk, as far as `room` goes, but no memory: objects are
inflated piece by piece, and deltas (which may ask for any part of their base, any number of times) copy within the
file. An object's id is computed from its bytes, so that what a commit names is what is found.

Source: gitformat-pack(5).
"""

from __future__ import annotations

import hashlib
import mmap
import os
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple

from corten.build.git.error import GitError
from corten.build.git.remote import ID_BYTES

_CHUNK = 64 << 10
_MAPPED = 8 << 20
_COUNT_LIMIT = 1_000_000
_KINDS = {1: b"commit", 2: b"tree", 3: b"blob", 4: b"tag"}
_BY_OFFSET, _BY_ID = 6, 7
_SIZE_LIMIT = 1 << 48


class Stored(NamedTuple):
    """One object in the file: its kind (commit, tree, blob, tag) and where its bytes lie."""

    kind: bytes
    offset: int
    size: int


class Objects:
    """The objects of one repository, in `file`, which is theirs to close."""

    def __init__(self, file: BinaryIO, hash_name: str, *, room: int, check: Callable[[], None]) -> None:
        self._file = file
        self._room = room
        self._end = 0
        self.hash_name = hash_name
        self.check = check
        self.by_id: dict[bytes, Stored] = {}

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def chunks(self, stored: Stored) -> Iterator[bytes]:
        """An object's bytes."""
        yield from self.part(stored, 0, stored.size)

    def part(self, stored: Stored, offset: int, size: int) -> Iterator[bytes]:
        """Some of an object's bytes. Raises GitError when it has not so many."""
        if offset + size > stored.size:
            raise GitError("the pack is damaged: a delta goes past its base")
        fd, at = self._file.fileno(), stored.offset + offset
        while size:
            data = os.pread(fd, min(size, 1 << 20), at)
            if not data:
                raise GitError("the objects' file is cut off")
            yield data
            at, size = at + len(data), size - len(data)

    def add(self, kind: bytes, size: int, data: Iterator[bytes]) -> tuple[bytes, Stored]:
        """Write an object of `size` bytes; its id. Raises GitError when it is longer or shorter, or too large."""
        if self._end + size > self._room:
            raise GitError(f"the repository's files need more than the {self._room} bytes that the disk has to spare")
        digest = hashlib.new(self.hash_name, b"%s %d\0" % (kind, size), usedforsecurity=False)
        stored = Stored(kind, self._end, size)
        left = size
        for chunk in data:
            left -= len(chunk)
            if left < 0:
                break
            self._file.write(chunk)
            digest.update(chunk)
        if left:
            raise GitError("the pack is damaged: an object has another size than it says")
        self._end += size
        return digest.digest(), stored

    def flush(self) -> None:
        """Let what was written be read."""
        self._file.flush()


class _Delta(NamedTuple):
    """Where a delta's instructions lie in the pack, and how many bytes they are."""

    offset: int  # of the entry, by which others name it
    at: int
    size: int


def unpack(pack: BinaryIO, objects: Objects) -> None:
    """Put all objects of a pack into `objects`. Raises GitError for a damaged one."""
    size = os.fstat(pack.fileno()).st_size
    id_bytes = ID_BYTES[objects.hash_name]
    if size < 12 + id_bytes:
        raise GitError("the pack is cut off")
    with mmap.mmap(pack.fileno(), size, prot=mmap.PROT_READ) as data, memoryview(data) as view:

        def let_go() -> None:
            data.madvise(mmap.MADV_DONTNEED)  # the pages that were read: else the pack counts as the daemon's memory

        _check_trailer(view, objects, id_bytes, let_go)
        _Unpacking(view[: size - id_bytes], objects, id_bytes, let_go).run()


def _check_trailer(view: memoryview, objects: Objects, id_bytes: int, let_go: Callable[[], None]) -> None:
    digest = hashlib.new(objects.hash_name, usedforsecurity=False)
    end = len(view) - id_bytes
    for at in range(0, end, _MAPPED):
        objects.check()
        digest.update(view[at : min(at + _MAPPED, end)])
        let_go()
    if digest.digest() != bytes(view[end:]):
        raise GitError("the pack is damaged: its checksum is wrong")


class _Unpacking:
    def __init__(self, view: memoryview, objects: Objects, id_bytes: int, let_go: Callable[[], None]) -> None:
        self._view = view
        self._objects = objects
        self._id_bytes = id_bytes
        self._by_offset: dict[int, list[_Delta]] = defaultdict(list)
        self._by_id: dict[bytes, list[_Delta]] = defaultdict(list)
        self._waiting = 0
        self._let_go = let_go
        self._kept_from = 0
        self._at = 12

    def run(self) -> None:
        try:
            self._run()
        finally:
            self._view.release()

    def _run(self) -> None:
        magic, version = bytes(self._view[:4]), int.from_bytes(self._view[4:8], "big")
        count = int.from_bytes(self._view[8:12], "big")
        if magic != b"PACK" or version not in (2, 3):
            raise GitError("what the server sends is no pack")
        if count > _COUNT_LIMIT:
            raise GitError(f"the repository has {count} objects, more than the limit of {_COUNT_LIMIT}")
        whole = [found for number in range(count) if (found := self._entry(number)) is not None]
        if self._at != len(self._view):
            raise GitError("the pack is damaged: there is something behind its last object")
        self._objects.flush()
        self._resolve(whole)
        if self._waiting:
            raise GitError("the pack is damaged: it lacks what its deltas stand on")

    def _entry(self, number: int) -> tuple[int, bytes, Stored] | None:
        """Read one entry: an object is stored, a delta kept for later."""
        if number % 1024 == 0:
            self._objects.check()
        offset = self._at
        kind, size = self._head()
        if kind in _KINDS:
            object_id, stored = self._objects.add(_KINDS[kind], size, self._inflate(size))
            self._objects.by_id[object_id] = stored
            return offset, object_id, stored
        if kind == _BY_OFFSET:
            waiting = self._by_offset[offset - self._distance()]
        elif kind == _BY_ID:
            waiting = self._by_id[bytes(self._view[self._at : self._at + self._id_bytes])]
            self._at += self._id_bytes
        else:
            raise GitError("the pack is damaged: it has an object of no known kind")
        waiting.append(_Delta(offset, self._at, size))
        self._waiting += 1
        for _ in self._inflate(size):
            pass
        return None

    def _byte(self) -> int:
        if self._at >= len(self._view):
            raise GitError("the pack is cut off")
        self._at += 1
        return self._view[self._at - 1]

    def _head(self) -> tuple[int, int]:
        byte = self._byte()
        kind, size, shift = (byte >> 4) & 7, byte & 15, 4
        while byte & 0x80:
            byte = self._byte()
            size |= (byte & 0x7F) << shift
            shift += 7
            if shift > 60:
                break
        if size > _SIZE_LIMIT:
            raise GitError("the pack is damaged: an object says that it is larger than any disk")
        return kind, size

    def _distance(self) -> int:
        byte = self._byte()
        distance = byte & 0x7F
        while byte & 0x80:
            byte = self._byte()
            distance = ((distance + 1) << 7) | (byte & 0x7F)
            if distance > _SIZE_LIMIT:
                break
        return distance

    def _inflate(self, size: int) -> Iterator[bytes]:
        """The bytes of the stream that begins here; leaves the place behind it. Raises GitError for others than
        `size`."""
        inflating = zlib.decompressobj()
        at, left, step, data = self._at, size, 4096, b""
        while not inflating.eof:
            if not data:
                data = bytes(self._view[at : at + step])
                at, step = at + len(data), _CHUNK
                if abs(at - self._kept_from) > _MAPPED:
                    self._kept_from = at
                    self._let_go()
            try:
                out = inflating.decompress(data, _CHUNK)
            except zlib.error as error:
                raise GitError(f"the pack is damaged: {error}") from error
            stuck = not data and not out
            data = inflating.unconsumed_tail
            left -= len(out)
            if left < 0 or (stuck and not inflating.eof):
                raise GitError("the pack is damaged: an object has another size than it says")
            if out:
                self._objects.check()
                yield out
        if left:
            raise GitError("the pack is damaged: an object has another size than it says")
        self._at = at - len(inflating.unused_data)

    def _resolve(self, whole: list[tuple[int, bytes, Stored]]) -> None:
        """Make objects of the deltas, each when its base is there."""
        while whole:
            offset, object_id, base = whole.pop()
            for delta in (*self._by_offset.pop(offset, ()), *self._by_id.pop(object_id, ())):
                self._waiting -= 1
                self._at = delta.at
                made_id, made = self._apply(base, _Bytes(self._inflate(delta.size)))
                self._objects.by_id[made_id] = made
                whole.append((delta.offset, made_id, made))

    def _apply(self, base: Stored, instructions: _Bytes) -> tuple[bytes, Stored]:
        if instructions.number() != base.size:
            raise GitError("the pack is damaged: a delta is for another base")
        size = instructions.number()
        found = self._objects.add(base.kind, size, self._copied(base, instructions))
        self._objects.flush()
        return found

    def _copied(self, base: Stored, instructions: _Bytes) -> Iterator[bytes]:
        while (code := instructions.byte()) is not None:
            if code & 0x80:
                offset = sum(instructions.must() << (8 * bit) for bit in range(4) if code & (1 << bit))
                size = sum(instructions.must() << (8 * bit) for bit in range(3) if code & (0x10 << bit))
                yield from self._objects.part(base, offset, size or 0x10000)
            elif code:
                yield instructions.take(code)
            else:
                raise GitError("the pack is damaged: a delta has an unknown instruction")


class _Bytes:
    """Single bytes of what comes in chunks."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._chunk = b""
        self._at = 0

    def byte(self) -> int | None:
        while self._at >= len(self._chunk):
            chunk = next(self._chunks, None)
            if chunk is None:
                return None
            self._chunk, self._at = chunk, 0
        self._at += 1
        return self._chunk[self._at - 1]

    def must(self) -> int:
        byte = self.byte()
        if byte is None:
            raise GitError("the pack is damaged: a delta is cut off")
        return byte

    def take(self, size: int) -> bytes:
        taken = self._chunk[self._at : self._at + size]
        self._at += len(taken)
        return taken if len(taken) == size else taken + bytes(self.must() for _ in range(size - len(taken)))

    def number(self) -> int:
        value = shift = 0
        while True:
            byte = self.must()
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return value
            if shift > 60:
                raise GitError("the pack is damaged: a delta says an impossible size")
