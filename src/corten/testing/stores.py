"""Small, honest stores for tests of images: blobs and layers as files below a directory, records in memory. Test kit.

They keep the promises of `engine.images.stores`; layers are kept as tars, since nothing mounts them here.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import BinaryIO

from corten.engine.images.decompress import Readable
from corten.errors import Conflict, DataLoss, NotFound


class FileIngest:
    """A blob on its way in, as a file named by its ref."""

    def __init__(self, path: Path, blobs: Path) -> None:
        self._path = path
        self._blobs = blobs
        self._file = path.open("ab")

    @property
    def offset(self) -> int:
        """How many bytes are there."""
        return self._file.tell()

    def write(self, data: bytes) -> None:
        """Append."""
        self._file.write(data)

    def commit(self, digest: str, size: int) -> None:
        """Check and rename."""
        self._file.flush()
        data = self._path.read_bytes()
        if len(data) != size or "sha256:" + hashlib.sha256(data).hexdigest() != digest:
            self.abort()
            raise DataLoss(f"{digest}: other bytes")
        self._path.rename(self._blobs / digest)

    def abort(self) -> None:
        """Forget the bytes."""
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class FileBlobs:
    """Content by digest."""

    def __init__(self, root: Path) -> None:
        self._blobs, self._ingest = root / "blobs", root / "ingest"
        self._blobs.mkdir(parents=True)
        self._ingest.mkdir()

    def size(self, digest: str) -> int | None:
        """The size of a blob, None when it is not here."""
        path = self._blobs / digest
        return path.stat().st_size if path.exists() else None

    def open(self, digest: str) -> BinaryIO:
        """A blob to read."""
        try:
            return (self._blobs / digest).open("rb")
        except FileNotFoundError:
            raise NotFound(f"no content {digest}") from None

    def ingest(self, ref: str) -> FileIngest:
        """Begin or go on."""
        return FileIngest(self._ingest / ref, self._blobs)

    def remove(self, digest: str) -> None:
        """Delete a blob."""
        (self._blobs / digest).unlink(missing_ok=True)

    def digests(self) -> set[str]:
        """All blobs."""
        return set(os.listdir(self._blobs))

    def ingests(self) -> set[str]:
        """What is half there."""
        return set(os.listdir(self._ingest))


class TarLayers:
    """Layers by chainID, kept as tars."""

    name = "test"

    def __init__(self) -> None:
        self.tars: dict[str, tuple[str, bytes]] = {}

    def has(self, chain_id: str) -> bool:
        """Whether the layer is here."""
        return chain_id in self.tars

    def apply(self, chain_id: str, parent: str, stream: Readable) -> None:
        """Keep the tar."""
        if parent and parent not in self.tars:
            raise NotFound(f"no layer {parent}")
        data = bytearray()
        while chunk := stream.read(1 << 20):
            data += chunk
        self.tars[chain_id] = (parent, bytes(data))

    def size(self, chain_id: str) -> int:
        """The tar's size."""
        return len(self.tars[chain_id][1])

    def remove(self, chain_id: str) -> None:
        """Delete a layer that nothing stands on."""
        if any(parent == chain_id for parent, _ in self.tars.values()):
            raise Conflict(f"layer {chain_id} has children")
        self.tars.pop(chain_id, None)


class MemoryRecords:
    """Records by key."""

    def __init__(self) -> None:
        self.records: dict[str, bytes] = {}

    def list(self) -> Iterable[tuple[str, bytes]]:
        """All of them."""
        return list(self.records.items())

    def put_all(self, records: Mapping[str, bytes]) -> None:
        """Write several."""
        self.records.update(records)

    def delete(self, key: str) -> None:
        """Remove one."""
        self.records.pop(key, None)
