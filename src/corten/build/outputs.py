"""What becomes of a build's result: an image here, or a tar for the client, of the image or of its files.

A tar is made while it is read, of layers that the build's lease keeps. Daemon's loop, disk threads.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from corten.build.export import image_id
from corten.build.filesystem import FileSystem
from corten.build.ops.store import Snapshots
from corten.engine.images import save
from corten.engine.images.assemble import Assembler
from corten.engine.images.library import ImageLibrary
from corten.engine.images.progress import Progress
from corten.engine.images.save import SavedImage
from corten.lib import pipe
from corten.lib.tar_writer import TarWriter
from corten.spec.docker.progress import ProgressMessage
from corten.spec.oci_image import Image
from corten.spec.reference import Reference
from corten.store.leases import Lease
from corten.store.pack import Packer

_PIECE = 64 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """The result of a build: the configuration document, and the layers."""

    image: Image
    filesystem: FileSystem

    @property
    def id(self) -> str:
        """The image's id, whether it is stored or not."""
        return image_id(self.image)


class Outputs:
    """Carries results out; one a daemon."""

    def __init__(self, *, library: ImageLibrary, assembler: Callable[[], Assembler], snapshots: Snapshots) -> None:
        self._library = library
        self._assembler = assembler
        self._snapshots = snapshots

    async def store(self, built: Built, names: Sequence[Reference], lease: Lease) -> None:
        """As an image with these names."""
        blobs = [layer.blob for layer in built.filesystem.layers]
        await self._assembler().record(built.image, blobs, [str(name) for name in names], lease)

    async def archive(self, built: Built, names: Sequence[Reference], lease: Lease) -> AsyncIterator[bytes]:
        """As what `docker save` makes of it: an OCI layout that `docker load` takes, too."""
        blobs = [layer.blob for layer in built.filesystem.layers]
        root, manifest = await self._assembler().documents(built.image, blobs, lease)
        layers = tuple(manifest.layers)
        image = SavedImage(
            root=root,
            config=manifest.config.digest,
            layers=layers,
            diff_ids=tuple(built.image.diff_ids),
            tags=tuple(names),
            blobs=(root.digest, manifest.config.digest, *(layer.digest for layer in layers)),
        )
        return save.archive(self._library, [image])

    def files(self, built: Built) -> AsyncIterator[bytes]:
        """Its file system as a tar, as `docker export` gives a container's."""
        return pipe.produced(lambda file: self._pack(built.filesystem, file))

    def _pack(self, filesystem: FileSystem, file: BinaryIO) -> None:
        writer = TarWriter(file.write)
        if filesystem.layers:
            root = self._snapshots.image_fd(filesystem.chain_id)
            try:
                Packer(writer).tree(root)
            finally:
                os.close(root)
        writer.finish()


async def send(pieces: AsyncIterator[bytes], progress: Progress) -> None:
    """Say a tar, as messages whose `aux` is `{"Output": ...}`, base64 in JSON; at most some 16 MiB of it wait."""
    try:
        async for piece in pieces:
            for start in range(0, len(piece), _PIECE):
                await progress.keep_up()
                progress.say(ProgressMessage(aux={"Output": piece[start : start + _PIECE]}))
    finally:
        if isinstance(pieces, AsyncGenerator):
            await pieces.aclose()
