"""Writes what is exported as an image into the content store: layers in the form wished for, then documents. Daemon.

Nothing is recorded: the build's lease keeps it until an exporter has. Decisions on documents are in `documents`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import msgspec

from corten.build.exporters.documents import Documents, documents, image_documents
from corten.build.exporters.layers import LayerForms
from corten.build.exporters.request import Compression, Layout
from corten.build.exporters.result import Exportable
from corten.build.filesystem import Layer
from corten.engine.images.library import ImageLibrary
from corten.engine.images.progress import Progress
from corten.lib import blocking
from corten.lib.faultpoint import reach
from corten.spec.digest import digest_of
from corten.spec.oci_image import Image, RootFS
from corten.spec.reference import Reference


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What is in the content store; `layers` are each image's, uncompressed, for unpacking."""

    documents: Documents
    layers: tuple[tuple[Layer, ...], ...]


class ImageWriter:
    """One a daemon."""

    def __init__(self, library: ImageLibrary) -> None:
        self._library = library
        self._forms = LayerForms(library)

    async def write(
        self,
        exportable: Exportable,
        layout: Layout,
        names: Sequence[Reference],
        progress: Progress,
        *,
        plain: bool = False,
        attested: bool = True,
    ) -> Written:
        """Store an export's layers and documents. `plain`: layers stay uncompressed unless the layout says otherwise;
        not `attested`: nothing is said of the images. Raises InvalidArgument, OSError."""
        said = [image.predicates if attested else () for image in exportable.images]
        oci_types = layout.oci_types or any(said) or bool(layout.annotations.entries)
        as_they_are = plain and layout.compression == Compression()
        images, all_layers = [], []
        for image in exportable.images:
            document, layers = await self._layers(
                image.built.image, image.built.filesystem.layers, exportable, layout, progress
            )
            blobs = (
                [layer.blob for layer in layers]
                if as_they_are
                else await self._forms.compressed(layers, layout.compression, exportable.lease, progress)
            )
            images.append(image_documents(document, blobs, layout.annotations, oci_types=oci_types))
            all_layers.append(layers)
        make = partial(
            documents,
            images,
            said,
            names,
            layout.annotations,
            oci_types=oci_types,
            always_index=exportable.always_index,
        )
        found = await blocking.run(make) if len(images) > 1 or any(said) else make()
        digests = [digest_of(raw) for raw in found.blobs]
        exportable.lease.add(*digests)
        for digest, raw in zip(digests, found.blobs, strict=True):
            if not self._library.has_blob(digest):
                await blocking.run(self._library.put_blob, raw)
        reach("build.exported")
        return Written(documents=found, layers=tuple(all_layers))

    async def _layers(
        self, image: Image, layers: tuple[Layer, ...], exportable: Exportable, layout: Layout, progress: Progress
    ) -> tuple[Image, tuple[Layer, ...]]:
        """The layers as SOURCE_DATE_EPOCH wants them, and the configuration that names them."""
        epoch_s = layout.epoch_s if layout.epoch_s is not None else exportable.epoch_s
        if epoch_s is None or not layout.rewrite:
            return image, layers
        older = await self._forms.rewritten(layers, epoch_s, exportable.lease, progress)
        rootfs = RootFS(diff_ids=[layer.diff_id for layer in older])
        return msgspec.structs.replace(image, rootfs=rootfs), older
