"""What a vertex results in: a file system as the layers it is made of, lowest first. Pure; daemon."""

from __future__ import annotations

import msgspec

from corten.spec.digest import chain_ids
from corten.spec.oci_image import Descriptor
from corten.store.gc import Node


class Layer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One layer: its blob, the digest of its uncompressed tar, when a build made it (RFC 3339), and the cache key of
    the step that did; these two are empty for an image's layer."""

    blob: Descriptor
    diff_id: str
    created: str = ""
    key: str = ""
    size: int = 0


class FileSystem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Layers; none of them is an empty file system. `is_apart`: the one layer is here as a blob alone, for it is to be
    put upon another file system (a Merge's)."""

    layers: tuple[Layer, ...] = ()
    is_apart: bool = False

    @property
    def chain(self) -> list[str]:
        """The chainIDs of its layers, lowest first."""
        return [str(chain_id) for chain_id in chain_ids(layer.diff_id for layer in self.layers)]

    @property
    def chain_id(self) -> str:
        """The chainID of the topmost layer; empty for an empty file system."""
        chain = self.chain
        return chain[-1] if chain else ""

    def stamped(self, below: int, key: str) -> FileSystem:
        """With `key` as that of the step that made the layers above the lowest `below` ones."""
        own = (msgspec.structs.replace(layer, key=key) for layer in self.layers[below:])
        return msgspec.structs.replace(self, layers=(*self.layers[:below], *own))

    def keys(self) -> list[str]:
        """Its blobs' digests and layers' chainIDs, as leases and the collector name them."""
        return [*(layer.blob.digest for layer in self.layers), *([] if self.is_apart else self.chain)]

    def nodes(self) -> list[Node]:
        """The same, as what the collector looks at."""
        blobs = [Node("blob", layer.blob.digest) for layer in self.layers]
        return blobs + [Node("layer", chain_id) for chain_id in ([] if self.is_apart else self.chain)]
