"""The collector: decides by `store.gc` what nothing needs of blobs and layers, and deletes it. Daemon; blocking.

Content is deleted here alone. Candidates are looked at against everything that needs something: images, containers'
snapshots, layers upon layers, leases. A lease that begins while the collector runs is honoured: it looks again, under
the leases' lock, in the moment of each deletion. Calls are made one at a time (the library's lock).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping

from corten.engine.images.stores import BlobStore, LayerStore
from corten.errors import CortenError
from corten.lib.faultpoint import reach
from corten.store.gc import Node, unreachable
from corten.store.leases import Leases

_LOG = logging.getLogger("corten.images")


class Collector:
    """Deletes what no image, container, layer or lease needs."""

    def __init__(self, *, blobs: BlobStore, layers: LayerStore, leases: Leases) -> None:
        self._blobs = blobs
        self._layers = layers
        self._leases = leases

    def garbage(self, candidates: Collection[Node], images: Mapping[str, Collection[Node]]) -> list[Node]:
        """Which candidates nothing needs, in the order in which they may go; `images` is what each image refers to."""
        parents = {chain_id: layer.parent for chain_id, layer in self._layers.layers().items()}
        snapshots = self._layers.snapshots()

        def references(node: Node) -> Iterable[Node]:
            if node.kind == "image":
                return images.get(node.key, ())
            if node.kind == "container":
                below = snapshots.get(node.key, "")
            elif node.kind == "layer":
                below = parents.get(node.key, "")
            elif node.kind == "lease":
                return (Node("blob", node.key), Node("layer", node.key))
            else:
                return ()
            return (Node("layer", below),) if below else ()

        roots = [Node("image", key) for key in images]
        roots += [Node("container", key) for key in snapshots]
        roots += [Node("lease", key) for key in self._leases.held()]
        return unreachable(candidates, roots, references)

    def collect(self, candidates: Collection[Node], images: Mapping[str, Collection[Node]]) -> list[Node]:
        """Delete the candidates that nothing needs; returns them. What cannot be deleted is kept, and said."""
        gone: list[Node] = []
        for node in self.garbage(candidates, images):
            delete: Callable[[str], object] = self._remove_layer if node.kind == "layer" else self._remove_blob
            try:
                if self._leases.unless_held(node.key, lambda: delete(node.key)):  # noqa: B023 - called at once
                    gone.append(node)
            except (CortenError, OSError) as error:
                _LOG.warning("%s is kept", node.kind, extra={"key": node.key, "error": str(error)})
        return gone

    def _remove_layer(self, chain_id: str) -> None:
        reach("layer.removing")
        self._layers.remove_layer(chain_id)

    def _remove_blob(self, digest: str) -> None:
        reach("blob.removing")
        self._blobs.remove(digest)
