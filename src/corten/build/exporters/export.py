"""Brings a build's result to all its outputs, one after the other: one line an exporter in `_one`. Daemon's loop.

`Exporters.export` is what every face of builds calls. Outputs before one that fails have happened.
"""

from __future__ import annotations

from collections.abc import Sequence

from corten.build.exporters.archive import ArchiveExporter
from corten.build.exporters.files import FilesExporter
from corten.build.exporters.image import ImageExporter, Publisher
from corten.build.exporters.request import ArchiveExport, Export, FilesExport, ImageExport
from corten.build.exporters.result import Exportable, Receiver
from corten.build.exporters.writer import ImageWriter
from corten.build.ops.store import Snapshots
from corten.engine.images.assemble import Assembler
from corten.engine.images.library import ImageLibrary
from corten.engine.images.progress import Progress


class Exporters:
    """All exporters; one a daemon."""

    def __init__(
        self, *, library: ImageLibrary, assembler: Assembler, snapshots: Snapshots, publisher: Publisher
    ) -> None:
        writer = ImageWriter(library)
        self._image = ImageExporter(writer=writer, library=library, assembler=assembler, publisher=publisher)
        self._archive = ArchiveExporter(writer=writer, library=library)
        self._files = FilesExporter(snapshots)

    async def export(
        self, exportable: Exportable, exports: Sequence[Export], receiver: Receiver, progress: Progress
    ) -> list[dict[str, str]]:
        """The answer of each output, in BuildKit's words. Raises InvalidArgument, RegistryError, OSError."""
        return [
            await self._one(exportable, export, number, receiver, progress) for number, export in enumerate(exports)
        ]

    async def _one(
        self, exportable: Exportable, export: Export, number: int, receiver: Receiver, progress: Progress
    ) -> dict[str, str]:
        match export:
            case ImageExport():
                return await self._image.export(exportable, export, progress)
            case ArchiveExport():
                return await self._archive.export(exportable, export, number, receiver, progress)
            case FilesExport():
                return await self._files.export(exportable, export, number, receiver)
        return {}
