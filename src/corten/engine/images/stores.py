"""What images need of the stores, as Protocols. Daemon; every call blocks and is made from a thread.

`corten.store` fulfils them; the wiring joins the two.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import BinaryIO, Protocol

from corten.engine.images.decompress import Readable


class Ingest(Protocol):
    """A blob on its way in. What was written stays for the next ingest of the same ref, until commit or abort."""

    @property
    def offset(self) -> int:
        """How many bytes are there, from the first on."""

    @property
    def arrived(self) -> int:
        """How many bytes are there in all, those behind a gap included."""

    def write(self, data: bytes) -> object:
        """Append."""

    def split(self, size: int) -> object:
        """Let ranges of the blob be claimed and written side by side."""

    def claim(self) -> tuple[int, int] | None:
        """A missing range (start, end) for the caller alone."""

    def release(self, end: int) -> object:
        """Give a claim back, brought or not."""

    def write_at(self, offset: int, data: bytes) -> object:
        """Store bytes of a claim, in order."""

    def reader(self) -> int:
        """A descriptor to read along with, up to `offset`; the caller closes it."""

    def commit(self, digest: str, size: int) -> object:
        """Verify, make durable and visible. Raises DataLoss when the bytes are other ones."""

    def abort(self) -> object:
        """Forget the bytes."""

    def close(self) -> object:
        """Let go; safe after commit and abort."""


class BlobStore(Protocol):
    """Content by digest."""

    def size(self, digest: str) -> int | None:
        """The size of a blob, None when it is not here."""

    def open(self, digest: str) -> BinaryIO:
        """A blob to read. Raises NotFound."""

    def ingest(self, ref: str) -> Ingest:
        """Begin or go on bringing a blob."""

    def scratch(self) -> Ingest:
        """Begin a blob whose digest is known only in the end."""

    def remove(self, digest: str) -> None:
        """Delete a blob; nothing happens when it is not here."""

    def digests(self, *, older_than_s: float = 0) -> Iterable[str]:
        """All blobs, or those that are here for so long."""


class StoredLayer(Protocol):
    """A layer that is here."""

    @property
    def parent(self) -> str:
        """The chainID of the layer it stands on, or empty."""

    @property
    def size(self) -> int:
        """Bytes of its own files."""


class LayerStore(Protocol):
    """Unpacked layers by chainID, and the containers' snapshots upon them."""

    @property
    def name(self) -> str:
        """The driver's name, as Docker shows it."""

    def has(self, chain_id: str) -> bool:
        """Whether the layer is here, complete."""

    def apply(self, chain_id: str, parent: str, stream: Readable) -> object:
        """Unpack a tar upon `parent` (empty: upon nothing). Reads to the end of `stream` before it commits."""

    def size(self, chain_id: str) -> int:
        """The size of the layer's own files."""

    def remove_layer(self, chain_id: str) -> None:
        """Delete a layer. Raises Conflict when a layer or snapshot stands on it."""

    def purge(self) -> None:
        """Delete the files of what was given up."""

    def layers(self) -> Mapping[str, StoredLayer]:
        """All layers, by chainID."""

    def snapshots(self) -> Mapping[str, str]:
        """The layer that each snapshot stands on, by the snapshot's key."""


class Records(Protocol):
    """Records by key; one call is one transaction."""

    def list(self) -> Iterable[tuple[str, bytes]]:
        """All of them."""

    def put_soon(self, key: str, value: bytes) -> None:
        """Write one that a power cut may take back; quick."""

    def put_all(self, records: Mapping[str, bytes]) -> None:
        """Write several, all or none."""

    def delete(self, key: str) -> None:
        """Remove one."""
