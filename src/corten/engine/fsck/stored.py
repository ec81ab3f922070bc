"""Looks at images: blobs' digests, records and their documents, layers' files. Daemon's loop; reads in cpu threads.

Nothing is changed here. What goes away while it is looked at, because somebody removes it, is no problem.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping
from typing import Protocol

from corten.engine.fsck.findings import Findings, Problem
from corten.engine.fsck.needs import Need, needs_of
from corten.engine.images.library import ImageLibrary
from corten.engine.images.record import ImageRecord
from corten.engine.images.stores import BlobStore, Records
from corten.errors import CortenError, NotFound
from corten.lib import blocking, codec
from corten.spec.corten.fsck import FsckMessage
from corten.spec.digest import short
from corten.spec.oci_image import MANIFEST_LIMIT, Descriptor

_READ = 1 << 20


class CheckedLayers(Protocol):
    """The snapshot driver, as far as layers are concerned."""

    def layers(self) -> Mapping[str, object]:
        """All layers."""

    def check_layer(self, chain_id: str) -> list[str]:
        """What is wrong with one."""


class StoredCheck:
    """The areas `blobs`, `images` and `layers`."""

    def __init__(self, *, library: ImageLibrary, blobs: BlobStore, layers: CheckedLayers, records: Records) -> None:
        self._library = library
        self._blobs = blobs
        self._layers = layers
        self._records = records

    async def check_blobs(self, findings: Findings) -> AsyncIterator[FsckMessage]:
        """Each blob has the digest it is named by."""
        digests = sorted(await blocking.run(lambda: list(self._blobs.digests())))
        for number, digest in enumerate(digests):
            yield FsckMessage(area="blobs", done=number, total=len(digests))
            findings.checked["blobs"] += 1
            wrong = await blocking.run(self._wrong, digest, pool="cpu")
            if wrong:
                findings.add(Problem(area="blobs", subject=digest, text=wrong, kind="blob"))

    def _wrong(self, digest: str) -> str:
        hashed, size = hashlib.sha256(), 0
        try:
            with self._blobs.open(digest) as file:
                while data := file.read(_READ):
                    hashed.update(data)
                    size += len(data)
        except NotFound:
            return ""
        except OSError as error:
            return f"cannot be read: {error.strerror}"
        actual = f"sha256:{hashed.hexdigest()}"
        return "" if actual == digest else f"is damaged: its {size} bytes have the digest {actual}"

    def images(self) -> dict[str, ImageRecord | None]:
        """All records by id; None for one that cannot be read."""
        found: dict[str, ImageRecord | None] = {}
        for image_id, raw in self._records.list():
            try:
                found[image_id] = codec.decode(ImageRecord, raw)
            except CortenError:
                found[image_id] = None
        return found

    def needs(self, image_id: str, record: ImageRecord) -> list[Need]:
        """The blobs of an image."""
        return needs_of(image_id, record, self._document)

    def _document(self, descriptor: Descriptor) -> bytes | None:
        try:
            return self._library.read_blob(descriptor.digest, MANIFEST_LIMIT)
        except (CortenError, OSError):
            return None

    async def check_images(self, findings: Findings) -> AsyncIterator[FsckMessage]:
        """Each record can be read, and all that it needs is here in the right size."""
        images = await blocking.run(self.images)
        for number, (image_id, record) in enumerate(sorted(images.items())):
            yield FsckMessage(area="images", done=number, total=len(images))
            findings.checked["images"] += 1
            for problem in await blocking.run(self._check_image, image_id, record):
                findings.add(problem)

    def _check_image(self, image_id: str, record: ImageRecord | None) -> list[Problem]:
        if record is None:
            return [Problem(area="images", subject=image_id, text="its record cannot be read", kind="record")]
        problems = []
        for need in self.needs(image_id, record):
            size = self._blobs.size(need.digest)
            expected = need.descriptor.size if need.descriptor else size
            if size is None:
                text = f"is not here, and image {short(image_id)} needs it"
                problems.append(Problem(area="images", subject=need.digest, text=text, kind="blob"))
            elif size != expected:
                text = f"has {size} bytes, and image {short(image_id)} says {expected}"
                problems.append(Problem(area="images", subject=need.digest, text=text, kind="blob"))
        if image_id in self._library.unreadable and not problems:
            text = f"its documents cannot be used: {self._library.unreadable[image_id]}"
            problems.append(Problem(area="images", subject=image_id, text=text, kind="record"))
        still_here = any(key == image_id for key, _ in self._records.list())
        return problems if still_here else []

    async def check_layers(self, findings: Findings) -> AsyncIterator[FsckMessage]:
        """Each layer is sound, and each that an image needs is here."""
        layers = sorted(self._layers.layers())
        for number, chain_id in enumerate(layers):
            yield FsckMessage(area="layers", done=number, total=len(layers))
            findings.checked["layers"] += 1
            for text in await blocking.run(self._check_layer, chain_id, pool="cpu"):
                findings.add(Problem(area="layers", subject=chain_id, text=text, kind="layer"))
        present = self._layers.layers()
        for entry in self._library.catalog:
            for chain_id in entry.chain:
                if chain_id not in present and self._library.catalog.get(entry.id) is not None:
                    text = f"is not here, and image {short(entry.id)} needs it"
                    findings.add(Problem(area="layers", subject=chain_id, text=text, kind="layer"))

    def _check_layer(self, chain_id: str) -> list[str]:
        try:
            return self._layers.check_layer(chain_id)
        except NotFound:
            return []
