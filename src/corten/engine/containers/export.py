"""`docker export`: a container's root file system as a tar, without what is mounted into it. Daemon."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import BinaryIO, Protocol

from corten.engine.containers.announce import announce
from corten.engine.containers.live import Container
from corten.engine.containers.roots import Snapshots
from corten.engine.events import Events
from corten.lib import pipe
from corten.lib.tar_writer import TarWriter
from corten.store.pack import Packer


class ContainerLookup(Protocol):
    """Containers by what a client calls them."""

    def find(self, reference: str) -> Container:
        """Raises NotFound."""


class ExportService:
    """Whole containers as tars."""

    def __init__(self, *, containers: ContainerLookup, snapshots: Snapshots, events: Events) -> None:
        self._containers = containers
        self._snapshots = snapshots
        self._events = events

    async def export(self, reference: str) -> AsyncIterator[bytes]:
        """The whole root file system. Raises NotFound."""
        container = self._containers.find(reference)
        announce(self._events, container.record, "export")
        return pipe.produced(lambda file: self._pack(container.id, file))

    def _pack(self, cid: str, file: BinaryIO) -> None:
        root = self._snapshots.root_fd(cid, writable=False)
        try:
            writer = TarWriter(file.write)
            Packer(writer).tree(root)
            writer.finish()
        finally:
            os.close(root)
