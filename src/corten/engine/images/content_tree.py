"""What hangs on a manifest or an index: which documents and blobs it names, and which of them are here. Pure; daemon.

One walk serves push, save, load, lists and the library: an index of several platforms with its attestations is a tree,
whose leaves may be partly absent, since a pull brings one platform only. Source: OCI image-spec image-index.md;
BuildKit's attestation storage (attestation manifests stand in the index, annotated with the image they are about).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from corten.errors import InvalidArgument
from corten.spec import oci_image
from corten.spec.oci_image import (
    ANNOTATION_BASE_TYPE,
    ANNOTATION_FOR_DIGEST,
    INDEX_TYPES,
    MANIFEST_TYPES,
    Descriptor,
    Index,
    Manifest,
)

_DEPTH = 3
_NODES = 2000

Read = Callable[[Descriptor], bytes | None]


@dataclass(slots=True)
class Node:
    """A document of the tree; `document` is None when it is not here, or is nothing that can be read."""

    descriptor: Descriptor
    raw: bytes | None = None
    document: Manifest | Index | None = None
    children: list[Node] = field(default_factory=list)

    @property
    def about(self) -> str:
        """The digest of the image that this attestation is about; empty for everything else."""
        annotations = self.descriptor.annotations or {}
        is_attestation = annotations.get(ANNOTATION_BASE_TYPE) == "attestation-manifest"
        return annotations.get(ANNOTATION_FOR_DIGEST, "") if is_attestation else ""

    @property
    def is_attestation(self) -> bool:
        """Whether this manifest tells of another one."""
        return ANNOTATION_BASE_TYPE in (self.descriptor.annotations or {})

    @property
    def image_id(self) -> str:
        """The id of the image, or the digest of another configuration, that a manifest is about; empty for an index."""
        return self.document.config.digest if isinstance(self.document, Manifest) else ""

    def walk(self) -> Iterator[Node]:
        """The documents, those below before those that name them."""
        for child in self.children:
            yield from child.walk()
        yield self

    def manifests(self) -> Iterator[Node]:
        """The documents that name no others, in the order of the index."""
        if not self.children and not isinstance(self.document, Index):
            yield self
        for child in self.children:
            yield from child.manifests()

    def blobs(self) -> list[Descriptor]:
        """The configuration and the layers of a manifest; nothing for an index."""
        document = self.document
        return [document.config, *document.layers] if isinstance(document, Manifest) else []

    def all_digests(self) -> list[str]:
        """Every document and blob of the tree as far as it is known, blobs before what names them; each once."""
        found: dict[str, None] = {}
        for node in self.walk():
            found.update(dict.fromkeys(blob.digest for blob in node.blobs()))
            found[node.descriptor.digest] = None
        return list(found)

    def is_complete(self, has: Callable[[str], bool]) -> bool:
        """Whether every document and every blob is here."""
        return all(
            node.document is not None and has(node.descriptor.digest) and all(has(b.digest) for b in node.blobs())
            for node in self.walk()
        )


def grow(root: Descriptor, read: Read) -> Node:
    """The tree below `root`; `read` gives a document's verified bytes, or None. Blocking, as `read` is.

    Raises InvalidArgument when the tree is too deep or too wide to be an image.
    """
    return _grow(root, read, _DEPTH, [0])


def _grow(descriptor: Descriptor, read: Read, depth: int, count: list[int]) -> Node:
    count[0] += 1
    if count[0] > _NODES:
        raise InvalidArgument(f"image index names more than {_NODES} manifests")
    node = Node(descriptor)
    if descriptor.media_type and descriptor.media_type not in MANIFEST_TYPES | INDEX_TYPES:
        return node
    raw = read(descriptor)
    if raw is None:
        return node
    try:
        document = oci_image.parse_document(raw, descriptor.media_type)
    except InvalidArgument:
        return node
    node.raw, node.document = raw, document
    if isinstance(document, Index):
        if not depth:
            raise InvalidArgument("image index is nested too deeply")
        node.children = [_grow(child, read, depth - 1, count) for child in document.manifests]
    return node
