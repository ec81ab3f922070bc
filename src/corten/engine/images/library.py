"""Images as the engine holds them: content and records, kept in step with the catalog in memory. Daemon.

The blocking calls (blobs, layers) are for threads; the async ones run on the loop, and what changes records or collects
does so one at a time, and to its end when the client goes away. Whoever brings or reads an image leases its digests
first. The order on disk: content is there for good before a record names it, and a record is gone for good before its
content goes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from contextlib import asynccontextmanager

import msgspec

from corten.engine.images.catalog import Catalog, ImageEntry
from corten.engine.images.collection import Collector
from corten.engine.images.content import ImageContent
from corten.engine.images.record import Coming, ImageRecord, aimed, blobs_of, entry_of, joined, nodes_of, renewed
from corten.engine.images.settled import never_half_done
from corten.engine.images.stores import BlobStore, LayerStore, Records
from corten.errors import CortenError
from corten.lib import blocking, codec
from corten.lib.disk_full import saying
from corten.spec.digest import chain_ids
from corten.spec.oci_image import Descriptor, Image, Manifest
from corten.store.gc import Node
from corten.store.leases import Lease, Leases

_LOG = logging.getLogger("corten.images")


class ImageLibrary(ImageContent):
    """Blobs, layers and records; one a daemon."""

    def __init__(self, *, blobs: BlobStore, layers: LayerStore, records: Records) -> None:
        super().__init__(blobs=blobs, layers=layers)
        self._records = records
        self._leases = Leases()
        self._collector = Collector(blobs=blobs, layers=layers, leases=self._leases)
        self._lock = asyncio.Lock()
        self._stored: dict[str, ImageRecord] = {}
        self._below_containers: set[Node] = set()  # layers of deleted images that a container still stands on
        self.kept: Callable[[], Collection[Node]] = tuple  # set by the wiring: what the build cache keeps
        self.unreadable: dict[str, str] = {}  # images whose content nobody knows, and why
        self.catalog = Catalog()

    def load(self) -> None:
        """Read all records. Blocking; at the daemon's start. An image that cannot be read is left out, and said."""
        self.unreadable.clear()
        for image_id, raw in self._records.list():
            try:
                record = codec.decode(ImageRecord, raw)
                entry = self._entry(image_id, record)
            except (CortenError, OSError) as error:
                _LOG.warning("image cannot be read", extra={"image": image_id, "error": str(error)})
                self.unreadable[image_id] = str(error)
                continue
            self._stored[image_id] = record
            self.catalog.put(entry)

    @never_half_done
    async def collect(self, *, older_than_s: float = 0) -> list[Node]:
        """Delete layers that nothing needs, and blobs that nothing needs and nobody has brought lately.

        Nothing is deleted while an image cannot be read: it may need what seems to be needed by none.
        """
        async with self._lock:
            if self.unreadable:
                return []
            return await blocking.run(self._collect_all, older_than_s)

    async def discard(self, nodes: Collection[Node]) -> list[Node]:
        """Delete those of `nodes` that nothing needs; returns them. What images among them have is told at once."""
        named = (self.catalog.get(node.key) for node in nodes if node.kind == "blob")
        needed = {node for entry in named if entry for node in nodes_of(entry, self._stored[entry.id])}
        left = [node for node in nodes if node not in needed and self.has_node(node)]
        return await self._discard(left) if left else []

    @never_half_done
    async def _discard(self, nodes: Collection[Node]) -> list[Node]:
        async with self._lock:
            return await blocking.run(self._collect, nodes)

    def _collect_all(self, older_than_s: float) -> list[Node]:
        gone = self._collect(self._all_nodes(older_than_s))
        if gone:
            count = sum(node.kind == "layer" for node in gone)
            _LOG.info("deleted what nothing needs", extra={"layers": count, "blobs": len(gone) - count})
        self._below_containers = {Node("layer", chain_id) for chain_id in self._layers.layers()} - self._needed()
        return gone

    async def unneeded(self) -> list[Node]:
        """The blobs and layers that no image, container or lease needs: what `collect` would delete by now."""
        async with self._lock:
            return await blocking.run(self._unneeded)

    def _unneeded(self) -> list[Node]:
        return self._collector.garbage(self._all_nodes(), self._nodes())

    def _all_nodes(self, older_than_s: float = 0) -> list[Node]:
        """All layers, and the blobs that are here for so long."""
        nodes = [Node("layer", chain_id) for chain_id in self._layers.layers()]
        return nodes + [Node("blob", digest) for digest in self._blobs.digests(older_than_s=older_than_s)]

    def _collect(self, candidates: Collection[Node]) -> list[Node]:
        return self._collector.collect(candidates, self._nodes())

    def _nodes(self) -> dict[str, list[Node]]:
        nodes = {entry.id: list(nodes_of(entry, self._stored[entry.id])) for entry in self.catalog}
        return {**nodes, "build cache": list(self.kept())}

    def _needed(self) -> set[Node]:
        return {node for nodes in self._nodes().values() for node in nodes}

    def stored_bytes(self) -> int:
        """What the images take on disk, as far as the catalog knows: each blob and each layer once."""
        blobs = {d.digest: d.size for entry in self.catalog for d in (*entry.layers, entry.manifest)}
        return sum(blobs.values()) + sum(self.catalog.layer_sizes().values())

    def blobs_of(self, entry: ImageEntry) -> list[str]:
        """The digests of all blobs that live and die with an image."""
        return list(blobs_of(entry, self._stored[entry.id]))

    # --- images: on the loop --------------------------------------------------------------------------------------

    @asynccontextmanager
    async def lease(self, keys: Iterable[str]) -> AsyncIterator[Lease]:
        """Keep blobs (by digest) and layers (by chainID) from being deleted during the block."""
        with self._leases.hold(keys) as lease:
            yield lease

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
        coming = Coming(
            manifest=manifest,
            layers=[layer.digest for layer in document.layers],
            references=references,
            extra=extra,
            parent=parent,
            target=target,
            made_here=made_here,
        )
        # nobody is between two writes, and nothing is awaited here: then a date needs no turn and no task
        if not self._lock.locked() and self._date(image_id, coming):
            return self._get(image_id)
        return await self._add(image_id, image, coming)

    @never_half_done
    async def _add(self, image_id: str, image: Image, coming: Coming) -> ImageEntry:
        async with self._lock:
            if self._date(image_id, coming):
                return self._get(image_id)
            old = self._stored.get(image_id)
            sizes = old.layer_sizes if old else await blocking.run(self._layer_sizes, image)
            await self._store({image_id: joined(old, coming, sizes, time.time_ns())})
            return self._get(image_id)

    @never_half_done
    async def name(self, image_id: str, references: Sequence[str], target: Descriptor | None = None) -> None:
        """Give an image further names, for its own manifest or another `target`; taken from whoever has them."""
        async with self._lock:
            record = self._stored[image_id]
            names = list(dict.fromkeys([*record.references, *references]))
            record = msgspec.structs.replace(record, references=names, tagged_ns=time.time_ns())
            await self._store({image_id: aimed(record, references, target or record.manifest)})

    @never_half_done
    async def unname(self, image_id: str, references: Sequence[str]) -> None:
        """Take names from an image."""
        async with self._lock:
            record = self._stored[image_id]
            names = [name for name in record.references if name not in references]
            await self._store({image_id: msgspec.structs.replace(record, references=names)})

    @never_half_done
    async def drop_extra(self, image_id: str, digests: Collection[str]) -> None:
        """Let go of blobs that were kept beside an image, such as another platform's."""
        async with self._lock:
            record = self._stored[image_id]
            rest = [digest for digest in record.extra if digest not in digests]
            await self._store({image_id: msgspec.structs.replace(record, extra=rest)})
            await blocking.run(self._collect, [Node("blob", digest) for digest in digests])

    @never_half_done
    async def replace_manifest(self, image_id: str, manifest: Descriptor) -> ImageEntry:
        """Let another manifest, whose content is here, be the image's; what only the old one needed goes."""
        async with self._lock:
            old = self._get(image_id)
            record = msgspec.structs.replace(self._stored[image_id], manifest=manifest, made_here=False)
            await self._store({image_id: record})
            await blocking.run(self._collect, [Node("blob", digest) for digest in old.blobs])
            return self._get(image_id)

    @never_half_done
    async def delete(self, image_id: str) -> list[str]:
        """Delete an image with its names, and what nothing else needs of it; the chainIDs of the layers that went.

        Layers that a container stands on stay until `reap` finds them free.
        """
        async with self._lock:
            entry = self.catalog.get(image_id)
            if entry is None:
                return []
            candidates = list(dict.fromkeys(nodes_of(entry, self._stored[image_id])))
            with saying(f"delete image {image_id}"):
                await blocking.run(self._records.delete, image_id)
            self.catalog.drop(image_id)
            del self._stored[image_id]
            gone = await blocking.run(self._collect, candidates)
            self._below_containers |= {node for node in candidates if node.kind == "layer"} - set(gone)
            return [node.key for node in gone if node.kind == "layer"]

    @never_half_done
    async def forget(self, image_id: str) -> None:
        """Delete the record of an image that cannot be read; what it needed goes with the next collection."""
        async with self._lock:
            if image_id in self.unreadable:
                await blocking.run(self._records.delete, image_id)
                del self.unreadable[image_id]

    @never_half_done
    async def reload(self, image_id: str) -> None:
        """Read an image's record again, whose documents were repaired. Raises what reading it raises."""
        async with self._lock:
            raw = dict(self._records.list())[image_id]
            record = codec.decode(ImageRecord, raw)
            entry = await blocking.run(self._entry, image_id, record)
            self._stored[image_id] = record
            self.catalog.put(entry)
            self.unreadable.pop(image_id, None)

    async def reap(self) -> None:
        """After a container is gone: delete the layers of deleted images that it stood on. Free when there are none."""
        if self._below_containers:
            await self._reap()

    @never_half_done
    async def _reap(self) -> None:
        async with self._lock:
            gone = await blocking.run(self._collect, list(self._below_containers))
            self._below_containers -= {*gone, *self._needed()}  # needed again: the image came back

    def _date(self, image_id: str, coming: Coming) -> bool:
        """Record when an image was given the names that it has, if that is all that is new."""
        old = self._stored.get(image_id)
        if old is None:
            return False
        record = joined(old, coming, old.layer_sizes, time.time_ns())
        if record != msgspec.structs.replace(old, tagged_ns=record.tagged_ns):
            return False
        self._records.put_soon(image_id, codec.encode(record))
        self._stored[image_id] = record
        self.catalog.put(renewed(self._get(image_id), record))
        return True

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
            return renewed(known, record)
        return entry_of(image_id, record, self.read_blob)
