"""What Corten tells of images beyond Docker's API: one's tree, two's difference. Daemon's loop, disk threads."""

from __future__ import annotations

import asyncio

from corten.engine.images.difference import difference
from corten.engine.images.library import ImageLibrary
from corten.engine.images.removal import ContainerUse
from corten.engine.images.tree import TreeTeller
from corten.lib import blocking
from corten.registry.cancel import Cancel
from corten.spec.corten.image import ImageDiff, ImageTree


class ImageInsight:
    """Reads images; changes nothing."""

    def __init__(self, *, library: ImageLibrary, containers: ContainerUse) -> None:
        self._library = library
        self._teller = TreeTeller(library, containers)

    async def tree(self, name: str) -> ImageTree:
        """The documents and blobs behind a name. Raises ImageNotFound, DataLoss."""
        entry, found = self._library.catalog.lookup(name)
        root = entry.target(found) if found else entry.roots[0]
        return await blocking.run(self._teller.tell, entry, root, found.familiar if found else entry.id)

    async def diff(self, old: str, new: str) -> ImageDiff:
        """What differs between two images. Raises ImageNotFound, InvalidTar, DataLoss."""
        first, _ = self._library.catalog.lookup(old)
        second, _ = self._library.catalog.lookup(new)
        cancel = Cancel()
        async with self._library.lease([*first.blobs, *second.blobs]):
            work = asyncio.ensure_future(
                blocking.run(difference, self._library, first, second, (old, new), cancel.check)
            )
            try:
                return await asyncio.shield(work)
            except asyncio.CancelledError:
                cancel.set()
                await asyncio.wait([work])
                if not work.cancelled():
                    work.exception()
                raise
