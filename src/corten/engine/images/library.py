"""Images as the engine holds them: blobs, unpacked layers and records, kept in step with the catalog in memory. Daemon.

The blocking calls (blobs, layers) are for threads; the async ones run on the loop. Content is deleted here alone, and
only what no image names and nobody leases: whoever brings or reads an image leases its digests first, and both the
lease and the deletion are decided under one lock.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import BinaryIO
from uuid import uuid4

import msgspec

from corten.engine.images.catalog import Catalog, ImageEntry
from corten.engine.images.decompress import Readable, TarStream
from corten.engine.images.stores import BlobStore, Ingest, LayerStore, Records
from corten.errors import CortenError, DataLoss, InvalidArgument
from corten.lib import blocking, codec
from corten.spec import oci_image
from corten.spec.digest import Digest, chain_ids, digest_of
from corten.spec.oci_image import CONFIG_LIMIT, MANIFEST_LIMIT, Descriptor, Image, Manifest
from corten.store.gc import unreachable

_LOG = logging.getLogger("corten.images")
_CHUNK = 1 << 20


class ImageRecord(msgspec.Struct, omit_defaults=True, frozen=True, kw_only=True):
    """What is stored of an image, by its id; everything else follows from its documents."""

    manifest: Descriptor
    references: list[str]
    layer_sizes: list[int]
    extra: list[str] = []
    parent: str = ""
    tagged_ns: int = 0
    orphaned_chain: list[str] = []
    targets: dict[str, Descriptor] = {}  # by name: the index, or the other manifest, that the name means
    made_here: bool = False  # the manifest was written by this engine: nobody else knows its digest


class ImageLibrary:
    """Blobs, layers and records; one a daemon."""

    def __init__(self, *, blobs: BlobStore, layers: LayerStore, records: Records) -> None:
        self._blobs = blobs
        self._layers = layers
        self._records = records
        self._leases: Counter[str] = Counter()
        self._lock = asyncio.Lock()
        self._unread = 0  # records whose content nobody knows
        self._stored: dict[str, ImageRecord] = {}
        self._orphans: dict[str, ImageRecord] = {}
        self.catalog = Catalog()

    @property
    def driver(self) -> str:
        """The name of the snapshot driver."""
        return self._layers.name

    def load(self) -> None:
        """Read all records. Blocking; at the daemon's start. An image that cannot be read is left out, and said."""
        self._unread = 0
        for image_id, raw in self._records.list():
            try:
                record = codec.decode(ImageRecord, raw)
                if record.orphaned_chain:
                    self._orphans[image_id] = record
                    continue
                entry = self._entry(image_id, record)
            except (CortenError, OSError) as error:
                _LOG.warning("image cannot be read", extra={"image": image_id, "error": str(error)})
                self._unread += 1
                continue
            self._stored[image_id] = record
            self.catalog.put(entry)

    def sweep(self, digests: Iterable[str], parents: Mapping[str, str]) -> None:
        """Delete those of these blobs and layers (with their parents) that no image needs: what a crash has left.

        Blocking; after `load` and before anything arrives. Nothing is deleted while an image cannot be read.
        """
        if self._unread:
            return
        chains = unreachable(parents, self._kept_chains(), lambda chain: [parents[chain]] if chain in parents else [])
        blobs = unreachable(list(digests), self._kept_blobs())
        if chains or blobs:
            _LOG.info("deleting what no image needs", extra={"layers": len(chains), "blobs": len(blobs)})
        for chain in chains:
            self._delete_content([chain], [])
        self._delete_content([], blobs)

    # --- blobs and layers: blocking -------------------------------------------------------------------------------

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
            raise DataLoss(f"stored content of {digest} is damaged", hint="remove the image and pull it again")
        return raw

    def ingest(self, ref: str) -> Ingest:
        """A blob on its way in."""
        return self._blobs.ingest(ref)

    def put_blob(self, raw: bytes) -> Digest:
        """Store a small blob."""
        digest = digest_of(raw)
        if self._blobs.size(digest) is None:
            ingest = self._blobs.ingest(f"blob-{uuid4().hex}")
            try:
                ingest.write(raw)
                ingest.commit(digest, len(raw))
            except BaseException:
                ingest.abort()
                raise
            finally:
                ingest.close()
        return digest

    def has_layer(self, chain_id: str) -> bool:
        """Whether the layer is unpacked here."""
        return self._layers.has(chain_id)

    def unpack(self, digest: str, diff_id: str, chain_id: str, parent: str, step: Callable[[int], None]) -> None:
        """Unpack a blob upon `parent`, its diffID checked; `step` hears how much was read, and may raise."""
        with self._blobs.open(digest) as file:
            self.unpack_stream(_Counted(file, step), diff_id, chain_id, parent)

    def unpack_stream(self, source: Readable, diff_id: str, chain_id: str, parent: str) -> None:
        """Unpack what `source` gives upon `parent`; the layer is there only if it ends without an error."""
        self._layers.apply(chain_id, parent, TarStream(source, diff_id=diff_id))

    def stored_bytes(self) -> int:
        """What the images take on disk, as far as the catalog knows: each blob and each layer once."""
        blobs = {d.digest: d.size for entry in self.catalog for d in (*entry.layers, entry.manifest)}
        layers = {c: s for entry in self.catalog for c, s in zip(entry.chain, entry.layer_sizes, strict=False)}
        return sum(blobs.values()) + sum(layers.values())

    # --- images: on the loop --------------------------------------------------------------------------------------

    @asynccontextmanager
    async def lease(self, keys: Iterable[str]) -> AsyncIterator[None]:
        """Keep blobs (by digest) and layers (by chainID) from being deleted during the block."""
        held = list(keys)
        async with self._lock:
            self._leases.update(held)
        try:
            yield
        finally:
            self._leases.subtract(held)
            for key in held:
                if self._leases[key] <= 0:
                    del self._leases[key]

    async def add(
        self,
        manifest: Descriptor,
        document: Manifest,
        image: Image,
        references: Sequence[str],
        *,
        extra: Sequence[str] = (),
        parent: str = "",
        target: Descriptor | None = None,
        made_here: bool = False,
    ) -> ImageEntry:
        """Record an image whose content is here; names it had, and its build parent, stay.

        `extra` are further blobs that live and die with it, such as the index it was chosen from, which is the `target`
        of its new names. `made_here` says that nobody gave this manifest: it may be replaced by a compressed one.
        """
        image_id = document.config.digest
        async with self._lock:
            old = self._stored.get(image_id)
            sizes = await blocking.run(self._layer_sizes, image)
            known = old.references if old else []
            other: list[str] = []
            if old is not None and old.manifest.digest != manifest.digest:
                # the same image under another manifest (other compression): the first one stays its own
                other = [manifest.digest, *(layer.digest for layer in document.layers)]
            record = ImageRecord(
                manifest=old.manifest if old else manifest,
                references=list(dict.fromkeys([*known, *references])),
                layer_sizes=sizes,
                extra=list(dict.fromkeys([*(old.extra if old else []), *extra, *other])),
                parent=parent or (old.parent if old else ""),
                tagged_ns=time.time_ns() if references else (old.tagged_ns if old else 0),
                targets=old.targets if old else {},
                made_here=old.made_here if old else made_here,
            )
            # a manifest that was only made up says nothing better than the one that is known
            aim = old.manifest if old is not None and made_here else target or manifest
            await self._store({image_id: _aimed(record, references, aim)})
            self._orphans.pop(image_id, None)
            return self._get(image_id)

    async def name(self, image_id: str, references: Sequence[str], target: Descriptor | None = None) -> None:
        """Give an image further names, for its own manifest or another `target`; taken from whoever has them."""
        async with self._lock:
            record = self._stored[image_id]
            names = list(dict.fromkeys([*record.references, *references]))
            record = msgspec.structs.replace(record, references=names, tagged_ns=time.time_ns())
            await self._store({image_id: _aimed(record, references, target or record.manifest)})

    async def unname(self, image_id: str, references: Sequence[str]) -> None:
        """Take names from an image."""
        async with self._lock:
            record = self._stored[image_id]
            names = [name for name in record.references if name not in references]
            await self._store({image_id: msgspec.structs.replace(record, references=names)})

    async def drop_extra(self, image_id: str, digests: Collection[str]) -> None:
        """Let go of blobs that were kept beside an image, such as another platform's."""
        async with self._lock:
            record = self._stored[image_id]
            rest = [digest for digest in record.extra if digest not in digests]
            await self._store({image_id: msgspec.structs.replace(record, extra=rest)})
            kept = self._kept_blobs()
            await blocking.run(self._delete_content, [], [digest for digest in digests if digest not in kept])

    async def replace_manifest(self, image_id: str, manifest: Descriptor) -> ImageEntry:
        """Let another manifest, whose content is here, be the image's; what only the old one needed goes."""
        async with self._lock:
            old = self._get(image_id)
            record = msgspec.structs.replace(self._stored[image_id], manifest=manifest, made_here=False)
            await self._store({image_id: record})
            kept = self._kept_blobs()
            blobs = [digest for digest in old.blobs if digest not in kept]
            await blocking.run(self._delete_content, [], blobs)
            return self._get(image_id)

    async def delete(self, image_id: str, *, held: bool = False) -> list[str]:
        """Delete an image with its names, and what nothing else needs of it; the chainIDs of the layers that went.

        `held`: a container stands on its layers, which therefore stay until `reap` finds them free.
        """
        async with self._lock:
            entry = self.catalog.get(image_id)
            record = self._stored.get(image_id)
            if entry is None or record is None:
                return []
            orphan = ImageRecord(manifest=record.manifest, references=[], layer_sizes=[], orphaned_chain=[*entry.chain])
            if held and entry.chain:
                await blocking.run(self._records.put_all, {image_id: codec.encode(orphan)})
                self._orphans[image_id] = orphan
            else:
                await blocking.run(self._records.delete, image_id)
            self.catalog.drop(image_id)
            del self._stored[image_id]
            kept_chains, kept_blobs = self._kept_chains(), self._kept_blobs()
            chains = [chain_id for chain_id in reversed(entry.chain) if chain_id not in kept_chains]
            blobs = [digest for digest in (*entry.blobs, *record.extra) if digest not in kept_blobs]
            return await blocking.run(self._delete_content, chains, list(dict.fromkeys(blobs)))

    async def reap(self, is_used: Callable[[str], bool]) -> None:
        """Delete the layers of images that were deleted while containers stood on them, once none does."""
        if not self._orphans:
            return
        async with self._lock:
            for image_id in [key for key in self._orphans if not is_used(key)]:
                record = self._orphans.pop(image_id)
                kept = self._kept_chains()
                chains = [chain_id for chain_id in reversed(record.orphaned_chain) if chain_id not in kept]
                await blocking.run(self._delete_content, chains, [])
                await blocking.run(self._records.delete, image_id)

    def _kept_blobs(self) -> set[str]:
        """The blobs that images or leases need."""
        kept = set(self._leases)
        for entry in self.catalog:
            kept.update(entry.blobs, self._stored[entry.id].extra)
        return kept

    def _kept_chains(self) -> set[str]:
        """The layers that images, leases or containers of deleted images need.

        Not to be mixed with blobs: the lowest chainID is also the digest of that layer's plain tar.
        """
        kept = set(self._leases)
        for entry in self.catalog:
            kept.update(entry.chain)
        for record in self._orphans.values():
            kept.update(record.orphaned_chain)
        return kept

    def _delete_content(self, chains: list[str], blobs: list[str]) -> list[str]:
        gone: list[str] = []
        for chain_id in chains:
            try:
                self._layers.remove_layer(chain_id)
            except (CortenError, OSError) as error:
                _LOG.warning("layer is kept", extra={"chain_id": chain_id, "error": str(error)})
                break
            gone.append(chain_id)
        for digest in blobs:
            try:
                self._blobs.remove(digest)
            except (CortenError, OSError) as error:
                _LOG.warning("blob is kept", extra={"digest": digest, "error": str(error)})
        return gone

    async def _store(self, records: dict[str, ImageRecord]) -> None:
        """Write records to disk, and then to memory; a name is on one image only."""
        taken = {name for record in records.values() for name in record.references}
        changed = dict(records)
        for image_id, record in self._stored.items():
            if image_id not in records and taken & set(record.references):
                names = [name for name in record.references if name not in taken]
                changed[image_id] = msgspec.structs.replace(record, references=names)
        entries = await blocking.run(self._write, changed)
        self._stored.update(changed)
        for entry in sorted(entries, key=lambda e: e.id in records):
            self.catalog.put(entry)

    def _write(self, records: dict[str, ImageRecord]) -> list[ImageEntry]:
        entries = [self._entry(image_id, record) for image_id, record in records.items()]
        self._records.put_all({image_id: codec.encode(record) for image_id, record in records.items()})
        return entries

    def _get(self, image_id: str) -> ImageEntry:
        entry = self.catalog.get(image_id)
        assert entry is not None
        return entry

    def _layer_sizes(self, image: Image) -> list[int]:
        return [self._layers.size(chain_id) for chain_id in chain_ids(image.diff_ids)]

    def _entry(self, image_id: str, record: ImageRecord) -> ImageEntry:
        known = self.catalog.get(image_id)
        if known is not None and known.manifest.digest == record.manifest.digest:
            return replace(
                known,
                references=tuple(record.references),
                targets=record.targets,
                made_here=record.made_here,
                parent=record.parent,
                tagged_ns=record.tagged_ns,
                layer_sizes=tuple(record.layer_sizes),
                unpacked_size=sum(record.layer_sizes),
            )
        manifest = oci_image.parse_document(self.read_blob(record.manifest.digest, MANIFEST_LIMIT))
        if not isinstance(manifest, Manifest):
            raise DataLoss(f"record of image {image_id} names no manifest")
        raw = self.read_blob(image_id, CONFIG_LIMIT)
        image = oci_image.parse_image(raw)
        return ImageEntry(
            id=image_id,
            manifest=record.manifest,
            references=tuple(record.references),
            layers=tuple(manifest.layers),
            chain=tuple(chain_ids(image.diff_ids)),
            config=image,
            config_size=len(raw),
            unpacked_size=sum(record.layer_sizes),
            layer_sizes=tuple(record.layer_sizes),
            targets=record.targets,
            made_here=record.made_here,
            parent=record.parent,
            tagged_ns=record.tagged_ns,
        )


def _aimed(record: ImageRecord, names: Sequence[str], target: Descriptor) -> ImageRecord:
    """`record` with `names` meaning `target`; what is no name of it any more means nothing."""
    targets = {name: known for name, known in record.targets.items() if name in record.references}
    targets.update(dict.fromkeys(names, target))
    own = record.manifest.digest
    return msgspec.structs.replace(record, targets={name: t for name, t in targets.items() if t.digest != own})


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
