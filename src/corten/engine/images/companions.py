"""What comes along with an image besides its layers: attestations, and an index's other platforms. Daemon; net threads.

Companions are kept as blobs and never unpacked, so that what was pulled or loaded as an index can be saved and pushed
as that index. A pull brings the attestations about its platform; an archive gives all it has.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from corten.engine.images.arrival import ChosenImage
from corten.engine.images.content_tree import Node, grow
from corten.engine.images.sources import ImageSource, verified_manifest
from corten.errors import CortenError
from corten.spec import oci_image
from corten.spec.oci_image import Descriptor, Index

_SIZE_LIMIT = 256 << 20


def with_attestations(source: ImageSource, chosen: ChosenImage) -> ChosenImage:
    """`chosen` with the attestations about it as companions. Blocking.

    A registry that has lost one still gives the image: the index is then not whole here, and is not pushed as one.
    """
    found: list[Descriptor] = []
    for node in _attestations(source, chosen):
        found += [*node.blobs(), node.descriptor]
    if sum(descriptor.size for descriptor in found) > _SIZE_LIMIT:
        return chosen
    return replace(chosen, companions=tuple({descriptor.digest: descriptor for descriptor in found}.values()))


def _attestations(source: ImageSource, chosen: ChosenImage) -> Iterator[Node]:
    def read(descriptor: Descriptor) -> bytes | None:
        try:
            return verified_manifest(source, descriptor).raw
        except CortenError:
            return None

    for raw in chosen.indexes:
        index = oci_image.parse_document(raw.raw, raw.media_type)
        assert isinstance(index, Index)
        for entry in index.manifests:
            if Node(entry).about == chosen.descriptor.digest:
                node = grow(entry, read)
                if node.document is not None:
                    yield node
