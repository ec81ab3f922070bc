"""The bytes of images, blobs and unpacked layers: read, written. Daemon; each call blocks and is made from a thread.

What is here is leased by whoever uses it, and deleted by the collector alone (`collection`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from corten.engine.images.decompress import Readable, TarStream
from corten.engine.images.stores import BlobStore, Ingest, LayerStore
from corten.errors import DataLoss, InvalidArgument
from corten.lib.disk_full import saying
from corten.lib.faultpoint import reach
from corten.spec.digest import Digest, digest_of
from corten.spec.oci_image import MANIFEST_LIMIT, Descriptor
from corten.store.gc import Node

_CHUNK = 1 << 20


class ImageContent:
    """Blobs by digest and layers by chainID."""

    def __init__(self, *, blobs: BlobStore, layers: LayerStore) -> None:
        self._blobs = blobs
        self._layers = layers

    @property
    def driver(self) -> str:
        """The name of the snapshot driver."""
        return self._layers.name

    def blob_size(self, digest: str) -> int | None:
        """The size of a blob that is here, else None."""
        return self._blobs.size(digest)

    def has_blob(self, digest: str) -> bool:
        """Whether a blob is here."""
        return self._blobs.size(digest) is not None

    def read_document(self, descriptor: Descriptor) -> bytes | None:
        """A manifest or index that is here, verified; else None. Raises DataLoss."""
        return self.read_blob(descriptor.digest, MANIFEST_LIMIT) if self.has_blob(descriptor.digest) else None

    def open_blob(self, digest: str) -> BinaryIO:
        """A blob, to be read. Raises NotFound."""
        return self._blobs.open(digest)

    def read_blob(self, digest: str, limit: int) -> bytes:
        """A small blob, verified. Raises NotFound, DataLoss, InvalidArgument above `limit`."""
        with self._blobs.open(digest) as file:
            raw = file.read(limit + 1)
        if len(raw) > limit:
            raise InvalidArgument(f"{digest} is larger than the limit of {limit} bytes")
        if digest_of(raw) != digest:
            raise DataLoss(f"stored content of {digest} is damaged", hint="corten fsck --repair fetches it again")
        return raw

    def ingest(self, ref: str) -> Ingest:
        """A blob on its way in."""
        return self._blobs.ingest(ref)

    @contextmanager
    def scratch(self) -> Iterator[Ingest]:
        """A blob that is made here, for the block to write and commit; forgotten when that fails."""
        ingest = self._blobs.scratch()
        try:
            yield ingest
        except BaseException:
            ingest.abort()
            raise
        finally:
            ingest.close()

    def put_blob(self, raw: bytes) -> Digest:
        """Store a small blob."""
        digest = digest_of(raw)
        if self._blobs.size(digest) is None:
            self.replace_blob(raw)
        return digest

    def replace_blob(self, raw: bytes) -> None:
        """Store a small blob, also in the place of a damaged one."""
        with self.scratch() as ingest:
            ingest.write(raw)
            ingest.commit(digest_of(raw), len(raw))

    def has_layer(self, chain_id: str) -> bool:
        """Whether the layer is unpacked here."""
        return self._layers.has(chain_id)

    def has_node(self, node: Node) -> bool:
        """Whether a blob or layer is here."""
        return self.has_layer(node.key) if node.kind == "layer" else self.has_blob(node.key)

    def unpack(self, digest: str, diff_id: str, chain_id: str, parent: str, step: Callable[[int], None]) -> None:
        """Unpack a blob upon `parent`, its diffID checked; `step` hears how much was read, and may raise."""
        with self._blobs.open(digest) as file:
            self.unpack_stream(_Counted(file, step), diff_id, chain_id, parent)

    def unpack_stream(self, source: Readable, diff_id: str, chain_id: str, parent: str) -> None:
        """Unpack what `source` gives upon `parent`; the layer is there only if it ends without an error."""
        try:
            with saying(f"unpack layer {diff_id}"):
                self._layers.apply(chain_id, parent, _Tar(TarStream(source, diff_id=diff_id)))
        except BaseException:
            with suppress(OSError):
                self._layers.purge()  # what was unpacked so far
            raise
        reach("layer.applied")

    def purge(self) -> None:
        """Delete the files of layers that were removed."""
        self._layers.purge()


class _Tar:
    """A layer's tar as the driver reads it, with the places where a test breaks off."""

    def __init__(self, stream: TarStream) -> None:
        self._stream = stream

    def read(self, size: int = -1, /) -> bytes:
        data = self._stream.read(size)
        reach("layer.begun" if data else "layer.read")
        return data


class _Counted:
    """A blob being read, which tells how far."""

    def __init__(self, file: BinaryIO, step: Callable[[int], None]) -> None:
        self._file = file
        self._step = step
        self._done = 0

    def read(self, size: int = -1, /) -> bytes:
        data = self._file.read(size if size >= 0 else _CHUNK)
        self._done += len(data)
        self._step(self._done)
        return data
