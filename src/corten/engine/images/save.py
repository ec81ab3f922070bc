"""Images as one tar: an OCI image layout that is a docker-archive at the same time. Daemon's loop, disk threads.

Source: OCI image-layout.md; Docker's image specification v1.2 (manifest.json, repositories). Blobs go as they are
stored, so digests and signatures survive; nothing is written to disk on the way.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from corten.engine.images.catalog import Catalog, ImageEntry
from corten.engine.images.content_tree import grow
from corten.engine.images.library import ImageLibrary
from corten.engine.images.platform_manifest import platform_node
from corten.errors import DataLoss, InvalidArgument
from corten.lib import blocking, codec
from corten.spec import oci_image
from corten.spec import reference as references
from corten.spec.digest import hex_of
from corten.spec.oci_image import (
    ANNOTATION_IMAGE_NAME,
    ANNOTATION_REF_NAME,
    CONFIG_LIMIT,
    OCI_INDEX,
    Descriptor,
    Manifest,
)
from corten.spec.platform import Platform
from corten.spec.reference import Reference

_CHUNK = 1 << 20
_RECORD = 10240


@dataclass(slots=True)
class Selected:
    """An image to save, and the tags to save it under."""

    entry: ImageEntry
    tags: list[Reference] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class SavedImage:
    """One image as the archive has it: what index.json names, the manifest that manifest.json spells out, the blobs.

    `annotations` stand in index.json beside the name.
    """

    root: Descriptor
    config: str
    layers: tuple[Descriptor, ...]
    diff_ids: tuple[str, ...]
    tags: tuple[Reference, ...]
    blobs: tuple[str, ...]
    annotations: Mapping[str, str] | None = None


def select(catalog: Catalog, names: Sequence[str]) -> list[Selected]:
    """What `names` mean: a bare repository name stands for all its tags. Raises ImageNotFound."""
    if not names:
        raise InvalidArgument("no image names given to save")
    found: dict[str, Selected] = {}
    for text in names:
        pairs = _tags_of(catalog, text)
        for entry, tag in pairs:
            selected = found.setdefault(entry.id, Selected(entry))
            if tag is not None and tag not in selected.tags:
                selected.tags.append(tag)
    return list(found.values())


def _tags_of(catalog: Catalog, text: str) -> list[tuple[ImageEntry, Reference | None]]:
    if references.id_prefix(text) is None or catalog_has_name(catalog, text):
        name = references.parse(text)
        if name.is_name_only:
            pairs = [(e, n) for e in catalog for n in e.names() if n.tag and n.name == name.name]
            if pairs:
                return [(entry, tag) for entry, tag in pairs]
    entry, found = catalog.lookup(text)
    return [(entry, found if found is not None and found.tag and found.digest is None else None)]


def catalog_has_name(catalog: Catalog, text: str) -> bool:
    """Whether some image is tagged in the repository `text`."""
    try:
        name = references.parse(text)
    except InvalidArgument:
        return False
    return any(n.name == name.name for entry in catalog for n in entry.names())


def plan(library: ImageLibrary, images: Sequence[Selected], wanted: Sequence[Platform]) -> list[SavedImage]:
    """What the archive will hold. Blocking. Tags of one image may mean different indexes; each is kept whole.

    With one platform `wanted`, only its manifest is saved; with several, the index with these platforms' content.
    Raises ImageNotFound when one is not here, DataLoss.
    """
    saved = []
    for selected in images:
        by_root: dict[str, tuple[Descriptor, list[Reference]]] = {}
        tags_or_none: list[Reference | None] = [*selected.tags] or [None]
        for tag in tags_or_none:
            root = selected.entry.target(tag)
            by_root.setdefault(root.digest, (root, []))[1].extend([tag] if tag else [])
        for root, tags in by_root.values():
            saved.append(_plan_one(library, selected.entry, root, tags, wanted))
    return saved


def _plan_one(
    library: ImageLibrary, entry: ImageEntry, root: Descriptor, tags: list[Reference], wanted: Sequence[Platform]
) -> SavedImage:
    tree = grow(root, library.read_document)
    name = entry.names()[0].familiar if entry.names() else entry.id
    chosen = [platform_node(library, tree, platform, name) for platform in wanted]
    if not chosen:
        node = next((n for n in tree.manifests() if n.image_id == entry.id), None)
        blobs = [digest for digest in tree.all_digests() if library.blob_size(digest) is not None]
    elif len(chosen) == 1:
        node = chosen[0]
        root = node.descriptor
        blobs = node.all_digests()
    else:
        node = next((n for n in chosen if n.image_id == entry.id), chosen[0])
        about = {n.descriptor.digest for n in chosen}
        rest = [n for n in tree.manifests() if n.descriptor.digest not in about and n.about not in about]
        unwanted = {digest for n in rest for digest in n.all_digests()}
        unwanted -= {digest for n in tree.manifests() if n not in rest for digest in n.all_digests()}
        blobs = [d for d in tree.all_digests() if d not in unwanted and library.blob_size(d) is not None]
    if node is None or not isinstance(node.document, Manifest):
        raise DataLoss(f"the manifest of image {entry.id} is not here", hint="remove the image and pull it again")
    image = oci_image.parse_image(library.read_blob(node.document.config.digest, CONFIG_LIMIT))
    return SavedImage(
        root=msgspec.structs.replace(root, platform=None, annotations=None),
        config=node.document.config.digest,
        layers=tuple(node.document.layers),
        diff_ids=tuple(image.diff_ids),
        tags=tuple(tags),
        blobs=tuple(blobs),
    )


def documents(images: Sequence[SavedImage]) -> dict[str, bytes]:
    """The archive's own files: index.json, manifest.json, oci-layout, repositories."""
    manifests: list[dict[str, Any]] = []
    docker: list[dict[str, Any]] = []
    repositories: dict[str, dict[str, str]] = {}
    for image in images:
        descriptor = msgspec.to_builtins(image.root)
        tags: list[Reference | None] = [*image.tags] or [None]
        for tag in tags:
            names = dict(image.annotations or {})
            if tag:
                names |= {ANNOTATION_IMAGE_NAME: str(tag), ANNOTATION_REF_NAME: tag.tag}
            manifests.append({**descriptor, "annotations": names} if names else dict(descriptor))
            if tag:
                top = hex_of(image.layers[-1].digest) if image.layers else hex_of(image.config)
                repositories.setdefault(tag.familiar_name, {})[tag.tag] = top
        docker.append(
            {
                "Config": _blob_path(image.config),
                "RepoTags": [tag.familiar for tag in image.tags] or None,
                "Layers": [_blob_path(layer.digest) for layer in image.layers],
                "LayerSources": {
                    diff_id: msgspec.to_builtins(layer)
                    for diff_id, layer in zip(image.diff_ids, image.layers, strict=True)
                },
            }
        )
    files = {
        "index.json": codec.encode({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}),
        "manifest.json": codec.encode(docker),
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
    }
    if repositories:
        files["repositories"] = codec.encode(repositories)
    return files


async def archive(library: ImageLibrary, images: Sequence[SavedImage]) -> AsyncIterator[bytes]:
    """The tar, chunk by chunk. The images are leased while it is read."""
    blobs = list(dict.fromkeys(digest for image in images for digest in image.blobs))
    size = 0
    async with library.lease(blobs):
        for name in ("blobs/", "blobs/sha256/"):
            header = _header(name, 0, directory=True)
            size += len(header)
            yield header
        for digest in blobs:
            length = 0
            file = await blocking.run(library.open_blob, digest)
            try:
                length = os.fstat(file.fileno()).st_size
                yield _header(_blob_path(digest), length)
                while chunk := await blocking.run(file.read, _CHUNK):
                    yield chunk
            finally:
                file.close()
            padding = bytes(-length % tarfile.BLOCKSIZE)
            size += tarfile.BLOCKSIZE + length + len(padding)
            yield padding
        for name, data in documents(images).items():
            block = _header(name, len(data)) + data + bytes(-len(data) % tarfile.BLOCKSIZE)
            size += len(block)
            yield block
        end = 2 * tarfile.BLOCKSIZE
        yield bytes(end + -(size + end) % _RECORD)


def _blob_path(digest: str) -> str:
    return f"blobs/sha256/{hex_of(digest)}"


def _header(name: str, size: int, *, directory: bool = False) -> bytes:
    entry = tarfile.TarInfo(name)
    entry.size = size
    entry.type = tarfile.DIRTYPE if directory else tarfile.REGTYPE
    entry.mode = 0o755 if directory else 0o644
    return entry.tobuf(format=tarfile.GNU_FORMAT)
