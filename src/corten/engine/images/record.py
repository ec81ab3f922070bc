"""What is stored of an image, and what that amounts to: a row, and the entry of the catalog made of it. Daemon.

Pure, but for reading the image's documents through the function that is given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import msgspec

from corten.engine.images.catalog import ImageEntry
from corten.errors import DataLoss
from corten.spec import oci_image
from corten.spec.digest import chain_ids
from corten.spec.oci_image import CONFIG_LIMIT, MANIFEST_LIMIT, Descriptor, Manifest
from corten.store.gc import Node


class ImageRecord(msgspec.Struct, omit_defaults=True, frozen=True, kw_only=True):
    """What is stored of an image, by its id; everything else follows from its documents."""

    manifest: Descriptor
    references: list[str]
    layer_sizes: list[int]
    extra: list[str] = []
    parent: str = ""
    tagged_ns: int = 0
    targets: dict[str, Descriptor] = {}  # by name: the index, or the other manifest, that the name means
    made_here: bool = False  # the manifest was written by this engine: nobody else knows its digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Coming:
    """What comes in of an image whose content is here: see `ImageLibrary.add`. `layers` are the manifest's."""

    manifest: Descriptor
    layers: Sequence[str]
    references: Sequence[str]
    extra: Sequence[str] = ()
    parent: str = ""
    target: Descriptor | None = None
    made_here: bool = False


def joined(old: ImageRecord | None, coming: Coming, layer_sizes: list[int], now_ns: int) -> ImageRecord:
    """The record of an image that comes in, or comes again; names it had, and its build parent, stay."""
    other: list[str] = []
    if old is not None and old.manifest.digest != coming.manifest.digest:
        # the same image under another manifest (other compression): the first one stays its own
        other = [coming.manifest.digest, *coming.layers]
    known = old.references if old else []
    record = ImageRecord(
        manifest=old.manifest if old else coming.manifest,
        references=list(dict.fromkeys([*known, *coming.references])),
        layer_sizes=layer_sizes,
        extra=list(dict.fromkeys([*(old.extra if old else []), *coming.extra, *other])),
        parent=coming.parent or (old.parent if old else ""),
        tagged_ns=now_ns if coming.references else (old.tagged_ns if old else 0),
        targets=old.targets if old else {},
        made_here=old.made_here if old else coming.made_here,
    )
    # a manifest that was only made up says nothing better than the one that is known
    aim = old.manifest if old is not None and coming.made_here else coming.target or coming.manifest
    return aimed(record, coming.references, aim)


def aimed(record: ImageRecord, names: Sequence[str], target: Descriptor) -> ImageRecord:
    """`record` with `names` meaning `target`; what is no name of it any more means nothing."""
    targets = {name: known for name, known in record.targets.items() if name in record.references}
    targets.update(dict.fromkeys(names, target))
    own = record.manifest.digest
    return msgspec.structs.replace(record, targets={name: t for name, t in targets.items() if t.digest != own})


def renewed(known: ImageEntry, record: ImageRecord) -> ImageEntry:
    """The entry of an image whose record has changed, and whose documents have not."""
    return replace(
        known,
        references=tuple(record.references),
        targets=record.targets,
        made_here=record.made_here,
        parent=record.parent,
        tagged_ns=record.tagged_ns,
        layer_sizes=tuple(record.layer_sizes),
    )


def entry_of(image_id: str, record: ImageRecord, read: Callable[[str, int], bytes]) -> ImageEntry:
    """The catalog's entry of an image; `read` gives a blob up to a limit. Raises what it raises, DataLoss, and
    InvalidArgument for documents that are none."""
    manifest = oci_image.parse_document(read(record.manifest.digest, MANIFEST_LIMIT))
    if not isinstance(manifest, Manifest):
        raise DataLoss(f"record of image {image_id} names no manifest")
    raw = read(image_id, CONFIG_LIMIT)
    image = oci_image.parse_image(raw)
    return ImageEntry(
        id=image_id,
        manifest=record.manifest,
        references=tuple(record.references),
        layers=tuple(manifest.layers),
        chain=tuple(chain_ids(image.diff_ids)),
        config=image,
        config_size=len(raw),
        layer_sizes=tuple(record.layer_sizes),
        targets=record.targets,
        made_here=record.made_here,
        parent=record.parent,
        tagged_ns=record.tagged_ns,
    )


def blobs_of(entry: ImageEntry, record: ImageRecord) -> Iterator[str]:
    """The digests of all blobs that live and die with an image."""
    yield from entry.blobs
    yield from record.extra


def nodes_of(entry: ImageEntry, record: ImageRecord) -> Iterator[Node]:
    """What an image refers to, for the collector."""
    for digest in blobs_of(entry, record):
        yield Node("blob", digest)
    for chain_id in reversed(entry.chain):
        yield Node("layer", chain_id)
