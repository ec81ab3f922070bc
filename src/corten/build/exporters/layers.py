"""Other forms of layers, as exporters ask for them: with older times, compressed, uncompressed. Daemon's loop, threads.

A build's layers are kept as they were made, for all builds that come to them: SOURCE_DATE_EPOCH and compression are one
export's matter. The same layer and the same wish give the same bytes. What was compressed is known while it is here.
"""

from __future__ import annotations

import hashlib
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import msgspec
import zstandard
from isal import isal_zlib

from corten.build.exporters.request import Compression
from corten.build.filesystem import Layer
from corten.engine.images.decompress import TarStream
from corten.engine.images.library import ImageLibrary
from corten.engine.images.progress import Progress, run_cancellable
from corten.lib import blocking
from corten.lib.tar import Entry, Readable, TarReader
from corten.lib.tar_writer import TarWriter
from corten.spec.digest import short
from corten.spec.oci_image import OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD, Descriptor
from corten.store.leases import Lease
from corten.store.pack import PipedTar

_CHUNK = 1 << 20
_GZIP_WRAPPER = 31
_FAST_GZIP = 2  # isal's
_ZSTD_LEVEL = 3
_KNOWN_LIMIT = 4096
_NANO = 1_000_000_000
_TYPES = {"uncompressed": OCI_LAYER, "gzip": OCI_LAYER_GZIP, "zstd": OCI_LAYER_ZSTD}


class LayerForms:
    """Makes them; one a daemon."""

    def __init__(self, library: ImageLibrary) -> None:
        self._library = library
        self._known: OrderedDict[tuple[str, str, int | None], Descriptor] = OrderedDict()

    async def rewritten(
        self, layers: Sequence[Layer], epoch_s: int, lease: Lease, progress: Progress
    ) -> tuple[Layer, ...]:
        """The layers, those that a build made without any time later than `epoch_s`; the new blobs are leased."""
        return tuple(
            [
                await run_cancellable(progress, "disk", self._rewritten, layer, epoch_s * _NANO, lease, progress)
                if layer.created
                else layer
                for layer in layers
            ]
        )

    def _rewritten(self, layer: Layer, newest_ns: int, lease: Lease, progress: Progress) -> Layer:
        with self._library.open_blob(layer.blob.digest) as file:
            for entry in TarReader(TarStream(file)):
                progress.cancel.check()
                if entry.mtime_ns > newest_ns:
                    break
            else:
                return layer
        with self._library.open_blob(layer.blob.digest) as file, closing(_Older(TarStream(file), newest_ns)) as older:
            blob = self._stored(older, "uncompressed", None, layer.diff_id, lease, progress)
        return msgspec.structs.replace(layer, blob=blob, diff_id=blob.digest)

    async def compressed(
        self, layers: Sequence[Layer], wish: Compression, lease: Lease, progress: Progress
    ) -> list[Descriptor]:
        """The layers' blobs in the form that is wished; others' layers stay as they are compressed without `force`."""
        kind = wish.kind or "gzip"
        return [await self._one(layer, kind, wish, lease, progress) for layer in layers]

    async def _one(self, layer: Layer, kind: str, wish: Compression, lease: Lease, progress: Progress) -> Descriptor:
        now = _kind_of(layer.blob)
        if now == kind and (wish.level is None or layer.blob.digest != layer.diff_id):
            return layer.blob
        if now != "uncompressed" and not wish.force and not layer.created:
            return layer.blob
        key = (layer.diff_id, kind, wish.level)
        known = self._known.get(key)
        if known is not None:
            lease.add(known.digest)  # first: it may go at any time
            if await blocking.run(self._library.has_blob, known.digest):
                self._known.move_to_end(key)
                return known
        made = await run_cancellable(progress, "disk", self._made, layer, kind, wish.level, lease, progress)
        self._known[key] = made
        while len(self._known) > _KNOWN_LIMIT:
            self._known.popitem(last=False)
        return made

    def _made(self, layer: Layer, kind: str, level: int | None, lease: Lease, progress: Progress) -> Descriptor:
        with self._library.open_blob(layer.blob.digest) as file:
            return self._stored(TarStream(file, diff_id=layer.diff_id), kind, level, layer.diff_id, lease, progress)

    def _stored(
        self, source: Readable, kind: str, level: int | None, diff_id: str, lease: Lease, progress: Progress
    ) -> Descriptor:
        """Store what `source` gives; leased before it is there."""
        packer = _packer(kind, level)
        hashed, size, done = hashlib.sha256(), 0, 0
        with self._library.scratch() as ingest:
            for data, taken in _packed(source, packer):
                progress.cancel.check()
                hashed.update(data)
                size, done = size + len(data), done + taken
                ingest.write(data)
                progress.update(short(diff_id), "Preparing", done, done)
            digest = f"sha256:{hashed.hexdigest()}"
            lease.add(digest)
            ingest.commit(digest, size)
        return Descriptor(media_type=_TYPES[kind], digest=digest, size=size)


class _Older(PipedTar):
    """A layer's tar without times later than one."""

    def __init__(self, source: Readable, newest_ns: int) -> None:
        def fill(writer: TarWriter) -> None:
            reader = TarReader(source)
            for entry in reader:
                entry.mtime_ns = min(entry.mtime_ns, newest_ns)
                writer.add(entry, _whole(entry, reader) if entry.kind == "file" else ())

        super().__init__(fill)


def _whole(entry: Entry, reader: TarReader) -> Iterator[bytes]:
    """A file's bytes, holes included: the writer knows no sparse files."""
    if entry.pieces is None:
        yield from reader.data()
        return
    at, data = 0, reader.data()
    rest = b""
    for offset, length in entry.pieces:
        yield from _zeros(offset - at)
        left = length
        while left:
            rest = rest or next(data, b"")
            if not rest:
                return  # the writer says that it is too short
            yield rest[:left]
            taken = len(rest[:left])
            rest, left = rest[taken:], left - taken
        at = offset + length
    yield from _zeros(entry.size - at)


def _zeros(count: int) -> Iterator[bytes]:
    while count > 0:
        yield bytes(min(count, _CHUNK))
        count -= _CHUNK


def _packed(source: Readable, packer: Any) -> Iterator[tuple[bytes, int]]:
    while chunk := source.read(_CHUNK):
        yield packer.compress(chunk), len(chunk)
    yield packer.flush(), 0


class _Plain:
    """As compressors are asked."""

    def compress(self, data: bytes) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


def _packer(kind: str, level: int | None) -> Any:
    if kind == "uncompressed":
        return _Plain()
    if kind == "zstd":
        return zstandard.ZstdCompressor(level=level or _ZSTD_LEVEL).compressobj()
    if level is None:
        return isal_zlib.compressobj(_FAST_GZIP, isal_zlib.DEFLATED, _GZIP_WRAPPER)
    return zlib.compressobj(level, zlib.DEFLATED, _GZIP_WRAPPER)


def _kind_of(blob: Descriptor) -> str:
    if blob.media_type.endswith(("+zstd", ".zstd")):
        return "zstd"
    return "gzip" if blob.media_type.endswith(("+gzip", ".gzip")) else "uncompressed"
