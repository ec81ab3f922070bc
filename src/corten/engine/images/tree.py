"""An image as the tree of its documents and blobs: index, manifests, configurations, layers, attestations. Blocking.

Daemon, disk threads. Tells what of it is here, and which blobs other images have too.
"""

from __future__ import annotations

from dataclasses import dataclass

from corten.engine.images.catalog import ImageEntry
from corten.engine.images.content_tree import Node, grow
from corten.engine.images.library import ImageLibrary
from corten.engine.images.removal import ContainerUse
from corten.spec import oci_image
from corten.spec.corten.image import ImageTree, TreeBlob, TreeNode
from corten.spec.digest import short
from corten.spec.oci_image import CONFIG_LIMIT, Descriptor, Image, Index, Manifest
from corten.spec.platform import Platform


@dataclass(frozen=True, slots=True)
class TreeTeller:
    """Makes trees; `containers` says who uses which image."""

    library: ImageLibrary
    containers: ContainerUse

    def tell(self, entry: ImageEntry, root: Descriptor, name: str) -> ImageTree:
        """The tree below `root`, which is what `name` means. Raises DataLoss for a damaged document."""
        owners = self._owners(entry)
        top = grow(root, self.library.read_document)
        return ImageTree(name=name, id=entry.id, root=self._node(top, owners))

    def _owners(self, entry: ImageEntry) -> dict[str, list[str]]:
        """By blob, the other images that have it."""
        owners: dict[str, list[str]] = {}
        for other in self.library.catalog:
            if other.id != entry.id:
                shown = next(iter(other.repo_tags()), short(other.id))
                for digest in dict.fromkeys(other.blobs):
                    owners.setdefault(digest, []).append(shown)
        return owners

    def _node(self, node: Node, owners: dict[str, list[str]]) -> TreeNode:
        document = node.document
        told = TreeNode(
            descriptor=node.descriptor,
            kind=_kind(node),
            available=node.is_complete(self.library.has_blob),
            about=node.about,
            children=[self._node(child, owners) for child in node.children],
        )
        platform = node.descriptor.platform.to_platform() if node.descriptor.platform else None
        if isinstance(document, Manifest):
            image = self._image(document)
            told.config = self._blob(document.config, owners)
            known = self.library.catalog.get(document.config.digest)
            diff_ids = image.diff_ids if image is not None else []
            sizes = known.layer_sizes if known is not None else ()
            for number, layer in enumerate(document.layers):
                blob = self._blob(layer, owners)
                blob.diff_id = diff_ids[number] if number < len(diff_ids) else ""
                blob.unpacked_size = sizes[number] if number < len(sizes) else -1
                told.layers.append(blob)
            if known is not None:
                told.image_id = known.id
                told.containers = [cid for cid, _, _ in self.containers.uses(known.id)]
            if platform is None and image is not None:
                platform = image.platform
        if told.kind == "image" and platform is not None:
            told.platform = str(platform)
        return told

    def _image(self, document: Manifest) -> Image | None:
        if not oci_image.is_image(document) or not self.library.has_blob(document.config.digest):
            return None
        return oci_image.parse_image(self.library.read_blob(document.config.digest, CONFIG_LIMIT))

    def _blob(self, descriptor: Descriptor, owners: dict[str, list[str]]) -> TreeBlob:
        return TreeBlob(
            descriptor=descriptor,
            available=self.library.has_blob(descriptor.digest),
            shared_with=owners.get(descriptor.digest, []),
        )


def _kind(node: Node) -> str:
    if isinstance(node.document, Index):
        return "index"
    if node.is_attestation:
        return "attestation"
    if isinstance(node.document, Manifest):
        return "image" if oci_image.is_image(node.document) else "unknown"
    platform = node.descriptor.platform
    return "image" if platform is not None and platform.to_platform() != Platform("unknown", "unknown") else "unknown"
