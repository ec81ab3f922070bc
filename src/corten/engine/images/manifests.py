"""The manifests behind an image's names, here or not: what lists and inspect show of an index. Blocking; daemon.

A pull brings one platform of an index, an archive all that it has: each manifest is told with what of it is here. Reads
documents only, verified by their digests; whoever calls gives it a thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from corten.engine.images.catalog import ImageEntry
from corten.engine.images.content_tree import Node, grow
from corten.engine.images.library import ImageLibrary
from corten.engine.images.removal import ContainerUse
from corten.errors import CortenError
from corten.spec import oci_image
from corten.spec.docker import image as wire
from corten.spec.oci_image import CONFIG_LIMIT, Descriptor, Manifest, PlatformInfo

_UNKNOWN = PlatformInfo(architecture="unknown", os="unknown")


@dataclass(frozen=True, slots=True)
class ManifestLister:
    """Tells of an image's manifests; `containers` says who uses which platform's image."""

    library: ImageLibrary
    containers: ContainerUse

    def summaries(self, entry: ImageEntry, roots: Iterable[Descriptor]) -> list[wire.ManifestSummary]:
        """A row for each manifest below `roots`, each once, in the order of their index."""
        found: dict[str, wire.ManifestSummary] = {}
        for root in roots:
            for node in self._manifests(root):
                if node.descriptor.digest not in found:
                    found[node.descriptor.digest] = self._row(node, entry)
        return list(found.values())

    def _manifests(self, root: Descriptor) -> Iterator[Node]:
        try:
            yield from grow(root, self.library.read_document).manifests()
        except CortenError:
            yield Node(root)  # damaged: it is told of as what cannot be used

    def _row(self, node: Node, entry: ImageEntry) -> wire.ManifestSummary:
        sizes = {d.digest: self.library.blob_size(d.digest) or 0 for d in (node.descriptor, *node.blobs())}
        content = sum(sizes.values())
        row = wire.ManifestSummary(
            id=node.descriptor.digest,
            descriptor=node.descriptor,
            available=node.is_complete(self.library.has_blob),
            size=wire.ManifestSize(content=content, total=content),
            kind="unknown",
        )
        platform = self._platform(node, entry)
        if node.is_attestation:
            row.kind = "attestation"
            row.attestation_data = wire.AttestationData(about=node.about)
        elif platform is not None:
            unpacked = self.library.catalog.get(node.image_id)
            row.kind = "image"
            row.size.total += unpacked.unpacked_size if unpacked else 0
            row.image_data = wire.ImageData(
                platform=platform,
                containers=[cid for cid, _, _ in self.containers.uses(node.image_id)] if node.image_id else [],
                size={"Unpacked": unpacked.unpacked_size if unpacked else 0},
            )
        return row

    def _platform(self, node: Node, entry: ImageEntry) -> PlatformInfo | None:
        """What a manifest's image is for; None when it is of something else, or nothing is known of it."""
        document = node.document
        if isinstance(document, Manifest) and not oci_image.is_image(document):
            return None
        if node.descriptor.platform is not None:
            return node.descriptor.platform if node.descriptor.platform != _UNKNOWN else None
        if not isinstance(document, Manifest):
            return None
        known = self.library.catalog.get(document.config.digest) or entry
        if known.id == document.config.digest:
            image = known.config
        else:
            try:
                image = oci_image.parse_image(self.library.read_blob(document.config.digest, CONFIG_LIMIT))
            except CortenError:
                return None
        return PlatformInfo(architecture=image.architecture, os=image.os, variant=image.variant)
