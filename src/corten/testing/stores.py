"""A small, honest layer store for tests of images: nothing is mounted, layers are kept as the tars they came as.

It keeps the promises of `engine.images.stores.LayerStore`. Test kit.
"""

from __future__ import annotations

from corten.engine.images.decompress import Readable
from corten.errors import Conflict, NotFound


class TarLayers:
    """Layers by chainID, kept as tars."""

    name = "test"

    def __init__(self) -> None:
        self.tars: dict[str, tuple[str, bytes]] = {}

    def has(self, chain_id: str) -> bool:
        """Whether the layer is here."""
        return chain_id in self.tars

    def apply(self, chain_id: str, parent: str, stream: Readable) -> None:
        """Keep the tar."""
        if parent and parent not in self.tars:
            raise NotFound(f"no layer {parent}")
        data = bytearray()
        while chunk := stream.read(1 << 20):
            data += chunk
        self.tars[chain_id] = (parent, bytes(data))

    def size(self, chain_id: str) -> int:
        """The tar's size."""
        return len(self.tars[chain_id][1])

    def remove_layer(self, chain_id: str) -> None:
        """Delete a layer that nothing stands on."""
        if any(parent == chain_id for parent, _ in self.tars.values()):
            raise Conflict(f"layer {chain_id} has children")
        self.tars.pop(chain_id, None)
