"""The exporters `oci` and `docker`: an OCI image layout as a tar, which `docker load` takes, too. Daemon's loop.

It holds `manifest.json` as well, so that either name gives what both kinds of readers understand.
"""

from __future__ import annotations

from functools import partial

from corten.build.exporters.documents import Documents
from corten.build.exporters.image import own_number
from corten.build.exporters.request import ArchiveExport
from corten.build.exporters.responses import responses
from corten.build.exporters.result import Exportable, LayoutReceiver, Receiver
from corten.build.exporters.writer import ImageWriter
from corten.engine.images import save
from corten.engine.images.library import ImageLibrary
from corten.engine.images.progress import Progress
from corten.engine.images.save import SavedImage
from corten.errors import InvalidArgument
from corten.spec.reference import Reference


class ArchiveExporter:
    """One a daemon."""

    def __init__(self, *, writer: ImageWriter, library: ImageLibrary) -> None:
        self._writer = writer
        self._library = library

    async def export(
        self, exportable: Exportable, export: ArchiveExport, number: int, receiver: Receiver, progress: Progress
    ) -> dict[str, str]:
        """Send it. Raises InvalidArgument for several platforms in an archive of docker's kind, OSError."""
        is_docker = export.kind == "docker"
        if is_docker and len(exportable.images) > 1:
            raise InvalidArgument("docker exporter does not currently support exporting manifest lists")
        names = export.names or exportable.names
        written = await self._writer.write(
            exportable, export.layout, names, progress, plain=True, attested=not is_docker
        )
        found = written.documents
        if export.is_tree and isinstance(receiver, LayoutReceiver):
            blobs = [(digest, partial(self._library.open_blob, digest)) for digest in found.digests]
            await receiver.blobs(number, export, blobs)
            return responses(found, names)
        pieces = save.archive(self._library, [saved_image(found, names, export)])
        await receiver.archive(number, export, pieces)
        return responses(found, names)


def saved_image(found: Documents, names: tuple[Reference, ...], export: ArchiveExport) -> SavedImage:
    """As archives are written of."""
    image = found.images[own_number(found.images)]
    return SavedImage(
        root=found.root,
        config=image.id,
        layers=tuple(image.manifest.layers),
        diff_ids=tuple(image.image.diff_ids),
        tags=names,
        blobs=tuple(found.digests),
        annotations=export.layout.annotations.at("index-descriptor"),
    )
