"""The exporter `image` (`registry`, `moby`): an image of this engine, of a registry, or of both. Daemon's loop.

In the engine an image of several platforms is the one that runs here, whose names mean the whole index: save and push
give all of it. An image here that nobody else has heard of keeps plain layers, which a later push compresses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from corten.build.exporters.documents import ImageDocuments
from corten.build.exporters.request import Compression, ImageExport, check_names
from corten.build.exporters.responses import CONFIG_DIGEST, IMAGE_ID, responses
from corten.build.exporters.result import Exportable
from corten.build.exporters.writer import ImageWriter, Written
from corten.engine.images.assemble import Assembler
from corten.engine.images.library import ImageLibrary
from corten.engine.images.progress import Progress
from corten.registry.credentials import Credentials, known_as
from corten.spec import platform as platforms
from corten.spec import reference as references
from corten.spec.oci_image import Descriptor
from corten.spec.platform import host_platform
from corten.spec.reference import Reference


class Publisher(Protocol):
    """Pushes content (TransferService)."""

    async def publish(
        self, root: Descriptor, name: Reference, credentials: Credentials, progress: Progress, *, tagged: bool
    ) -> None:
        """Push a manifest or an index that is here with all it names. Raises RegistryError."""


class ImageExporter:
    """One a daemon."""

    def __init__(
        self, *, writer: ImageWriter, library: ImageLibrary, assembler: Assembler, publisher: Publisher
    ) -> None:
        self._writer = writer
        self._library = library
        self._assembler = assembler
        self._publisher = publisher

    async def export(self, exportable: Exportable, export: ImageExport, progress: Progress) -> dict[str, str]:
        """Store and push. Raises RegistryError, InvalidArgument, OSError."""
        names = export.names or (() if export.by_digest else exportable.names)
        check_names([export], names)
        is_known = export.push or export.layout.compression != Compression() or bool(export.layout.annotations.entries)
        several = len(exportable.images) > 1 or any(image.predicates for image in exportable.images)
        plain = not (is_known or several or exportable.always_index)
        written = await self._writer.write(exportable, export.layout, names, progress, plain=plain)
        root = written.documents.root
        if not names and export.dangling_prefix:
            names = (references.parse(export.dangling_prefix).with_digest(root.digest),)
        if export.store:
            await self._store(exportable, written, () if export.by_digest else names, progress, made_here=plain)
        if export.push:
            for name in names:
                credentials = await exportable.offers.credentials(known_as(name.domain))
                await self._publisher.publish(root, name, credentials, progress, tagged=not export.by_digest)
        answer = responses(written.documents, names)
        if CONFIG_DIGEST not in answer:
            images = written.documents.images
            answer[IMAGE_ID] = images[own_number(images)].id
        return answer

    async def _store(
        self,
        exportable: Exportable,
        written: Written,
        names: Sequence[Reference],
        progress: Progress,
        *,
        made_here: bool,
    ) -> None:
        """Record the image that runs here, with all the rest beside it."""
        found = written.documents
        number = own_number(found.images)
        image = found.images[number]
        layers = written.layers[number]
        await self._assembler.unpack_all([(layer.blob, layer.diff_id) for layer in layers], exportable.lease, progress)
        own = {image.descriptor.digest, image.id, *(layer.digest for layer in image.manifest.layers)}
        bare = Descriptor(
            media_type=image.descriptor.media_type, digest=image.descriptor.digest, size=image.descriptor.size
        )
        await self._library.add(
            bare,
            image.manifest,
            image.image,
            [_stored(name) for name in names],
            extra=[digest for digest in found.digests if digest not in own],
            target=found.root if found.is_index else None,
            made_here=made_here and not found.is_index,
        )


def own_number(images: Sequence[ImageDocuments]) -> int:
    """Which of them is this machine's: the one that runs here best, else the first."""
    return platforms.choose([image.image.platform for image in images], host_platform()) or 0


def _stored(name: Reference) -> str:
    return f"{name.name}@{name.digest}" if name.digest else str(name)
