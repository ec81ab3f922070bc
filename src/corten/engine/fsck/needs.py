"""Which blobs an image needs, and what is known of each: where fsck looks, what it asks registries for. Blocking."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from corten.engine.images.content_tree import grow
from corten.engine.images.record import ImageRecord
from corten.errors import CortenError
from corten.spec.oci_image import Descriptor, Manifest

Read = Callable[[Descriptor], bytes | None]


@dataclass(frozen=True, slots=True)
class Need:
    """A blob of an image. Nothing is known of one that only a damaged document describes."""

    digest: str
    descriptor: Descriptor | None
    is_document: bool


def needs_of(image_id: str, record: ImageRecord, read: Read) -> list[Need]:
    """All blobs of an image; `read` gives the bytes of a document that is here and sound, else None."""
    wanted = dict.fromkeys([record.manifest.digest, image_id, *record.extra])
    known: dict[str, Need] = {}
    for root in (record.manifest, *record.targets.values()):
        try:
            nodes = list(grow(root, read).walk())
        except CortenError:
            continue
        for node in nodes:
            known[node.descriptor.digest] = Need(node.descriptor.digest, node.descriptor, is_document=True)
            if node.descriptor.digest == record.manifest.digest and isinstance(node.document, Manifest):
                wanted.update(dict.fromkeys(layer.digest for layer in node.document.layers))
            for blob in node.blobs():
                known.setdefault(blob.digest, Need(blob.digest, blob, is_document=False))
    known.setdefault(record.manifest.digest, Need(record.manifest.digest, record.manifest, is_document=True))
    return [known.get(digest, Need(digest, None, is_document=False)) for digest in wanted]
