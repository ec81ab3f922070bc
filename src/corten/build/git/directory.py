"""The `.git` directory of a commit without history, for `--keep-git-dir`: made here, byte by byte. Net threads.

It holds nothing of what a server may have put into one: no hooks, no configuration but the repository's URL (without
credentials). Objects are packed anew, without deltas and in order, so that a commit gives one directory. The index
makes `git status` clean. Sources: gitrepository-layout(5), gitformat-pack(5), gitformat-index(5).
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

from corten.build.git.error import GitError
from corten.build.git.pack import Objects, Stored
from corten.build.git.trees import DIRECTORY, SUBMODULE, Commit, items_of
from corten.lib.tar import Entry

_KINDS = {b"commit": 1, b"tree": 2, b"blob": 3, b"tag": 4}
_CHUNK = 1 << 20
_FAR = 1 << 31
_PATHS_LIMIT = 128 << 20  # bytes of all paths, which the index has in full: trees may multiply them
_NANO = 1_000_000_000


class GitDirectory:
    """Made of what `objects` has of a commit; `ref` is the one in full that led to it, or empty."""

    def __init__(
        self, objects: Objects, commit: Commit, remote: str, ref: str, new_file: Callable[[], BinaryIO]
    ) -> None:
        self._objects = objects
        self._commit = commit
        self._remote = remote
        self._ref = ref
        self._pack = new_file()

    def close(self) -> None:
        """Close the pack's file."""
        self._pack.close()

    def members(self) -> Iterator[tuple[Entry, Iterable[bytes]]]:
        """The directory's entries for a tar, with their data."""
        sha256 = self._objects.hash_name == "sha256"
        config = f"[core]\n\trepositoryformatversion = {1 if sha256 else 0}\n\tfilemode = true\n\tbare = false\n"
        config += "[extensions]\n\tobjectformat = sha256\n" if sha256 else ""
        quoted = self._remote.replace("\\", "\\\\").replace('"', '\\"')
        config += f'[remote "origin"]\n\turl = "{quoted}"\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n'
        commit = self._commit.object_id.hex()
        named = self._commit.tags[0].hex() if self._commit.tags else commit
        refs = (
            f"# pack-refs with: peeled fully-peeled sorted \n{named} {self._ref}\n"
            if self._ref.startswith("refs/")
            else ""
        )
        refs += f"^{commit}\n" if refs and named != commit else ""
        files = self._files()
        checksum, rows = self._write_pack({self._commit.object_id, *self._commit.tags, *self._trees, *files.values()})
        for name in ("", "objects/", "objects/info/", "objects/pack/", "refs/", "refs/heads/", "refs/tags/"):
            yield self._entry(f".git/{name}", "directory"), ()
        texts = {"HEAD": f"{commit}\n", "config": config, "packed-refs": refs, "shallow": f"{commit}\n"}
        small = {name: text.encode("utf-8", "surrogateescape") for name, text in texts.items() if text}
        small["index"] = self._index()
        small[f"objects/pack/pack-{checksum.hex()}.idx"] = self._pack_index(rows, checksum)
        for name, data in small.items():
            yield self._entry(f".git/{name}", "file", len(data)), (data,)
        size = self._pack.tell()
        self._pack.seek(0)
        yield self._entry(f".git/objects/pack/pack-{checksum.hex()}.pack", "file", size), self._pack_chunks()

    def _entry(self, name: str, kind: str, size: int = 0) -> Entry:
        mode = 0o755 if kind == "directory" else 0o644
        return Entry(name.encode(), kind, mode, 0, 0, size, self._commit.time_s * _NANO)

    def _pack_chunks(self) -> Iterator[bytes]:
        while data := self._pack.read(_CHUNK):
            yield data

    def _files(self) -> dict[bytes, bytes]:
        """All blobs by path; keeps the index' rows and the trees."""
        self._rows: list[tuple[bytes, int, bytes, int]] = []
        self._trees = {self._commit.tree}
        found: dict[bytes, bytes] = {}
        left = _PATHS_LIMIT
        todo = [(b"", self._commit.tree)]
        while todo:
            prefix, tree = todo.pop()
            for item in items_of(self._objects, tree):
                path = prefix + item.name
                left -= len(path)
                if left < 0:
                    raise GitError("the repository's paths are too long, or too many, for a .git directory of them")
                if item.mode == DIRECTORY:
                    self._trees.add(item.object_id)
                    todo.append((path + b"/", item.object_id))
                    continue
                stored = self._objects.by_id.get(item.object_id)
                self._rows.append((path, item.mode, item.object_id, stored.size if stored else 0))
                if item.mode != SUBMODULE:
                    found[path] = item.object_id
        return found

    def _hash(self) -> hashlib._Hash:
        return hashlib.new(self._objects.hash_name, usedforsecurity=False)

    def _write_pack(self, object_ids: set[bytes]) -> tuple[bytes, list[tuple[bytes, int, int]]]:
        """The pack's checksum, and (id, CRC, offset) of its objects, by id."""
        digest, rows, at = self._hash(), [], 0

        def write(data: bytes) -> int:
            nonlocal at
            digest.update(data)
            at += self._pack.write(data)
            return len(data)

        write(b"PACK" + struct.pack(">II", 2, len(object_ids)))
        for object_id in sorted(object_ids):
            begun, crc = at, 0
            for data in self._packed(self._objects.by_id[object_id]):
                self._objects.check()
                crc = zlib.crc32(data, crc)
                write(data)
            rows.append((object_id, crc, begun))
        checksum = digest.digest()
        self._pack.write(checksum)
        return checksum, rows

    def _packed(self, stored: Stored) -> Iterator[bytes]:
        size, byte = stored.size >> 4, (_KINDS[stored.kind] << 4) | (stored.size & 15)
        head = bytearray()
        while size:
            head.append(byte | 0x80)
            size, byte = size >> 7, size & 0x7F
        head.append(byte)
        yield bytes(head)
        squeezing = zlib.compressobj()
        for data in self._objects.chunks(stored):
            yield squeezing.compress(data)
        yield squeezing.flush()

    def _pack_index(self, rows: list[tuple[bytes, int, int]], checksum: bytes) -> bytes:
        """Version 2."""
        counts = [0] * 256
        for object_id, _crc, _offset in rows:
            counts[object_id[0]] += 1
        fanout = [sum(counts[: number + 1]) for number in range(256)]
        far = [offset for _id, _crc, offset in rows if offset >= _FAR]
        far_numbers = iter(range(len(far)))
        near = [offset if offset < _FAR else _FAR | next(far_numbers) for _id, _crc, offset in rows]
        data = b"".join(
            (
                b"\xfftOc" + struct.pack(">I", 2),
                struct.pack(">256I", *fanout),
                b"".join(object_id for object_id, _crc, _offset in rows),
                struct.pack(f">{len(rows)}I", *(crc for _id, crc, _offset in rows)),
                struct.pack(f">{len(rows)}I", *near),
                struct.pack(f">{len(far)}Q", *far),
                checksum,
            )
        )
        digest = self._hash()
        digest.update(data)
        return data + digest.digest()

    def _index(self) -> bytes:
        """Version 2, without what stat(2) says: git then compares contents."""
        parts = [b"DIRC" + struct.pack(">II", 2, len(self._rows))]
        for path, mode, object_id, size in sorted(self._rows):
            kept = mode if mode & 0o170000 != 0o100000 else 0o100000 | (0o755 if mode & 0o100 else 0o644)
            entry = struct.pack(">10I", 0, 0, 0, 0, 0, 0, kept, 0, 0, size & 0xFFFFFFFF) + object_id
            entry += struct.pack(">H", min(len(path), 0xFFF)) + path
            parts.append(entry + b"\0" * (8 - len(entry) % 8))
        data = b"".join(parts)
        digest = self._hash()
        digest.update(data)
        return data + digest.digest()
