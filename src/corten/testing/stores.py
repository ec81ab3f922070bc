"""A small, honest layer store for tests of images: nothing is mounted, layers are kept as the tars they came as.

It keeps the promises of `engine.images.stores.LayerStore`. Test kit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from corten.engine.images.decompress import Readable
from corten.errors import Conflict, NotFound


class TarLayer(NamedTuple):
    """A layer that is here."""

    parent: str
    size: int


class TarLayers:
    """Layers by chainID, kept as tars."""

    name = "test"

    def __init__(self) -> None:
        self.tars: dict[str, tuple[str, bytes]] = {}
        self.containers: dict[str, str] = {}

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

    def layers(self) -> Mapping[str, TarLayer]:
        """All layers."""
        return {chain_id: TarLayer(parent, len(data)) for chain_id, (parent, data) in self.tars.items()}

    def purge(self) -> None:
        """Nothing is ever given up: a tar is here or not."""

    def snapshots(self) -> Mapping[str, str]:
        """The layer that each container stands on; tests put them here."""
        return self.containers

    def remove_layer(self, chain_id: str) -> None:
        """Delete a layer that nothing stands on."""
        if any(parent == chain_id for parent, _ in self.tars.values()) or chain_id in self.containers.values():
            raise Conflict(f"layer {chain_id} is in use")
        self.tars.pop(chain_id, None)
