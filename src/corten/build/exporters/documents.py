"""The documents of what is exported: configuration and manifest of each platform's image, and the index. Pure; daemon.

One image without attestations is a manifest alone; several, or one of which something is said, are an index, in which
each attestation manifest stands behind the images. Sources: OCI image-spec 1.1, BuildKit's attestation-storage.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from corten.build.attestations.material import image_purl
from corten.build.attestations.statement import Predicate, Subject, attestation_manifest
from corten.build.exporters.annotations import Annotations
from corten.lib import codec
from corten.spec.digest import digest_of, hex_of
from corten.spec.oci_image import (
    DOCKER_CONFIG,
    DOCKER_INDEX,
    DOCKER_LAYER,
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD,
    OCI_MANIFEST,
    Descriptor,
    Image,
    Index,
    Manifest,
    PlatformInfo,
)
from corten.spec.reference import Reference

_SUBJECT = "_"  # of an image without a name
_OCI = {DOCKER_LAYER: OCI_LAYER, DOCKER_LAYER_GZIP: OCI_LAYER_GZIP, f"{DOCKER_LAYER}.zstd": OCI_LAYER_ZSTD}
_DOCKER = {OCI_LAYER: DOCKER_LAYER, OCI_LAYER_GZIP: DOCKER_LAYER_GZIP, OCI_LAYER_ZSTD: f"{DOCKER_LAYER}.zstd"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageDocuments:
    """One platform's: the manifest's descriptor as an index has it, the manifest, the configuration."""

    descriptor: Descriptor
    manifest: Manifest
    image: Image
    blobs: tuple[bytes, bytes]

    @property
    def id(self) -> str:
        """The image's id."""
        return self.manifest.config.digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """All of an export; `blobs` are the bytes to be stored, what names others behind them."""

    root: Descriptor
    images: tuple[ImageDocuments, ...]
    attestations: tuple[Descriptor, ...]
    blobs: tuple[bytes, ...]

    @property
    def is_index(self) -> bool:
        """Whether there is an index."""
        return self.root.digest != self.images[0].descriptor.digest

    @property
    def digests(self) -> list[str]:
        """Of all documents and layers, each once."""
        layers = [layer.digest for image in self.images for layer in image.manifest.layers]
        return list(dict.fromkeys([*layers, *(digest_of(raw) for raw in self.blobs)]))


def image_documents(
    image: Image, layers: Sequence[Descriptor], annotations: Annotations, *, oci_types: bool
) -> ImageDocuments:
    """One image's, its layers in the media types of OCI or of Docker's schema 2."""
    raw = codec.encode(image)
    platform = image.platform
    types = _OCI if oci_types else _DOCKER
    media_type = OCI_MANIFEST if oci_types else DOCKER_MANIFEST
    config = Descriptor(media_type=OCI_CONFIG if oci_types else DOCKER_CONFIG, digest=digest_of(raw), size=len(raw))
    manifest = Manifest(
        schema_version=2,
        media_type=media_type,
        config=config,
        layers=[
            Descriptor(media_type=types.get(layer.media_type, layer.media_type), digest=layer.digest, size=layer.size)
            for layer in layers
        ],
        annotations=annotations.at("manifest", platform),
    )
    manifest_raw = codec.encode(manifest)
    descriptor = Descriptor(
        media_type=media_type,
        digest=digest_of(manifest_raw),
        size=len(manifest_raw),
        annotations=annotations.at("manifest-descriptor", platform),
        platform=PlatformInfo(
            architecture=platform.architecture,
            os=platform.os,
            os_version=image.os_version,
            variant=platform.variant or None,
        ),
    )
    return ImageDocuments(descriptor=descriptor, manifest=manifest, image=image, blobs=(raw, manifest_raw))


def documents(
    images: Sequence[ImageDocuments],
    said: Sequence[Sequence[Predicate]],
    names: Sequence[Reference],
    annotations: Annotations,
    *,
    oci_types: bool,
    always_index: bool = False,
) -> Documents:
    """All of an export; `said` is what is said of each image. Raises InvalidArgument for annotations that have no place
    to go to."""
    has_index = always_index or len(images) > 1 or any(said)
    annotations.check(has_index=has_index)
    blobs = [raw for image in images for raw in image.blobs]
    if not has_index:
        root = msgspec.structs.replace(images[0].descriptor, platform=None, annotations=None)
        return Documents(root=root, images=tuple(images), attestations=(), blobs=tuple(blobs))
    carried = [
        attestation_manifest(predicates, _subjects(image, names), image.descriptor.digest)
        for image, predicates in zip(images, said, strict=True)
        if predicates
    ]
    blobs += [raw for about in carried for raw in about.blobs]
    attestations = tuple(about.descriptor for about in carried)
    media_type = OCI_INDEX if oci_types or attestations else DOCKER_INDEX
    index = Index(
        schema_version=2,
        media_type=media_type,
        manifests=[*(image.descriptor for image in images), *attestations],
        annotations=annotations.at("index"),
    )
    raw = codec.encode(index)
    root = Descriptor(media_type=media_type, digest=digest_of(raw), size=len(raw))
    return Documents(root=root, images=tuple(images), attestations=attestations, blobs=(*blobs, raw))


def _subjects(image: ImageDocuments, names: Sequence[Reference]) -> list[Subject]:
    digits = hex_of(image.descriptor.digest)
    platform = str(image.image.platform)
    found = [image_purl(name, platform) for name in names] or [_SUBJECT]
    return [Subject(name=name, sha256=digits) for name in found]
