"""Image documents: descriptor, manifest, index, configuration; decoded strictly, bytes kept elsewhere. Pure; daemon.

Source: OCI image-spec 1.1 (descriptor.md, manifest.md, image-index.md, config.md) and Docker's schema 2, whose
documents have the same shape under other media types. A digest is always taken over the bytes received, never over a
re-encoding. Documents that are manifest and index at once, or whose mediaType is not the announced one, are refused
(CVE-2021-41190).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, TypeVar

import msgspec

from corten import errors
from corten.errors import InvalidArgument
from corten.spec import platform
from corten.spec.digest import is_digest
from corten.spec.platform import Platform

T = TypeVar("T")

MANIFEST_LIMIT = 4 << 20
CONFIG_LIMIT = 4 << 20
_LAYERS_LIMIT = 1024
_SIZE_LIMIT = (1 << 63) - 1

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP = OCI_LAYER + "+gzip"
OCI_LAYER_ZSTD = OCI_LAYER + "+zstd"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_MANIFEST_V1 = "application/vnd.docker.distribution.manifest.v1+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP = DOCKER_LAYER + ".gzip"
DOCKER_LAYER_ZSTD = DOCKER_LAYER + ".zstd"
DOCKER_FOREIGN_LAYER = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"

INDEX_TYPES = frozenset({OCI_INDEX, DOCKER_INDEX})
MANIFEST_TYPES = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
ACCEPTED_TYPES = (OCI_INDEX, DOCKER_INDEX, OCI_MANIFEST, DOCKER_MANIFEST)
_CONFIG_TYPES = frozenset({OCI_CONFIG, DOCKER_CONFIG})
_PLAIN_LAYERS = frozenset({OCI_LAYER, DOCKER_LAYER, OCI_LAYER.replace("layer", "layer.nondistributable")})
_COMPRESSED_LAYERS = frozenset({OCI_LAYER_GZIP, OCI_LAYER_ZSTD, DOCKER_LAYER_GZIP, DOCKER_LAYER_ZSTD})

ANNOTATION_REF_NAME = "org.opencontainers.image.ref.name"
ANNOTATION_IMAGE_NAME = "io.containerd.image.name"
ANNOTATION_CREATED = "org.opencontainers.image.created"
ANNOTATION_BASE_TYPE = "vnd.docker.reference.type"
ANNOTATION_FOR_DIGEST = "vnd.docker.reference.digest"


class UnsupportedImage(errors.NotImplemented):
    """A known kind of image or layer that this engine does not take."""

    code = "unsupported-image"


class PlatformInfo(msgspec.Struct, omit_defaults=True, frozen=True):
    """A descriptor's platform."""

    architecture: str = ""
    os: str = ""
    os_version: str | None = msgspec.field(default=None, name="os.version")
    os_features: list[str] | None = msgspec.field(default=None, name="os.features")
    variant: str | None = None

    def to_platform(self) -> Platform:
        """As the platform that matching works on."""
        return Platform(self.os, self.architecture, self.variant or "")


class Descriptor(msgspec.Struct, rename="camel", omit_defaults=True, frozen=True, kw_only=True):
    """What a blob is: its type, digest and size."""

    media_type: str
    digest: str
    size: int
    urls: list[str] | None = None
    annotations: dict[str, str] | None = None
    platform: PlatformInfo | None = None
    artifact_type: str | None = None


class Manifest(msgspec.Struct, rename="camel", frozen=True, kw_only=True, omit_defaults=True):
    """One platform's image: a config and its layers, lowest first."""

    schema_version: int
    media_type: str = ""
    config: Descriptor
    layers: list[Descriptor]
    annotations: dict[str, str] | None = None


class Index(msgspec.Struct, rename="camel", frozen=True, kw_only=True, omit_defaults=True):
    """Manifests by platform ("manifest list" in Docker's schema 2)."""

    schema_version: int
    media_type: str = ""
    manifests: list[Descriptor]
    annotations: dict[str, str] | None = None


class Healthcheck(msgspec.Struct, rename="pascal", omit_defaults=True, frozen=True):
    """Docker's extension of the configuration; durations in nanoseconds."""

    test: list[str] | None = None
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


class ImageConfig(msgspec.Struct, rename="pascal", omit_defaults=True, frozen=True, kw_only=True):
    """The defaults for containers of an image: `config` of config.md, and Docker's additions to it."""

    user: str = ""
    exposed_ports: dict[str, Any] | None = None
    env: list[str] | None = None
    cmd: list[str] | None = None
    healthcheck: Healthcheck | None = None
    args_escaped: bool = False
    volumes: dict[str, Any] | None = None
    working_dir: str = ""
    entrypoint: list[str] | None = None
    on_build: list[str] | None = None
    labels: dict[str, str] | None = None
    stop_signal: str = ""
    shell: list[str] | None = None


class RootFS(msgspec.Struct, frozen=True):
    """The layers, as the digests of their uncompressed tars, lowest first."""

    type: str = "layers"
    diff_ids: list[str] | None = None


class History(msgspec.Struct, omit_defaults=True, frozen=True, kw_only=True):
    """One step of an image's making; `empty_layer` ones have no layer."""

    created: str | None = None
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False


class Image(msgspec.Struct, omit_defaults=True, frozen=True, kw_only=True):
    """The image configuration document; the image's id is the digest of its bytes."""

    architecture: str = ""
    os: str = ""
    variant: str | None = None
    os_version: str | None = msgspec.field(default=None, name="os.version")
    created: str | None = None
    author: str | None = None
    comment: str | None = None
    docker_version: str | None = None
    container: str | None = None
    config: ImageConfig | None = None
    rootfs: RootFS = RootFS()
    history: list[History] | None = None

    @property
    def defaults(self) -> ImageConfig:
        """The defaults for containers, empty when the document has none."""
        return self.config or ImageConfig()

    @property
    def diff_ids(self) -> list[str]:
        """The diffIDs, lowest first."""
        return self.rootfs.diff_ids or []

    @property
    def platform(self) -> Platform:
        """What the image is built for, normalised."""
        return platform.normalize(Platform(self.os or "linux", self.architecture, self.variant or ""))


_ABSENT = msgspec.Raw()


class _Shape(msgspec.Struct, rename="camel"):
    """The fields that tell a manifest from an index; raw, so that presence alone counts."""

    schema_version: int = 0
    media_type: str = ""
    manifests: msgspec.Raw = _ABSENT
    layers: msgspec.Raw = _ABSENT
    config: msgspec.Raw = _ABSENT
    fs_layers: msgspec.Raw = _ABSENT

    def has(self, *names: str) -> bool:
        """Whether one of the fields is there and not null."""
        return any(bytes(getattr(self, name)).strip() not in {b"", b"null"} for name in names)


def parse_document(raw: bytes, media_type: str = "") -> Manifest | Index:
    """The manifest or index in `raw`, which was announced as `media_type` (or not at all).

    Raises InvalidArgument for a document that is both or neither, or contradicts what was announced.
    """
    if len(raw) > MANIFEST_LIMIT:
        raise InvalidArgument(f"manifest of {len(raw)} bytes is larger than the limit of {MANIFEST_LIMIT}")
    media_type = media_type.partition(";")[0].strip()
    shape = _decode(_Shape, raw)
    if shape.schema_version == 1 or shape.has("fs_layers") or media_type.startswith(DOCKER_MANIFEST_V1[:-5]):
        raise UnsupportedImage(
            "Docker image manifest version 2, schema 1 is no longer supported",
            hint="ask the image's author to push it again with a current tool",
        )
    if shape.schema_version != 2:
        raise InvalidArgument(f"unsupported manifest schema version {shape.schema_version}")
    if shape.has("manifests") and shape.has("layers", "config"):
        raise InvalidArgument("ambiguous manifest: it has both manifests and layers")
    declared = shape.media_type
    known = INDEX_TYPES | MANIFEST_TYPES
    if declared and media_type in known and declared != media_type:
        raise InvalidArgument(f"manifest says it is {declared}, but it was served as {media_type}")
    effective = declared or (media_type if media_type in known else "")
    if effective and effective not in known:
        raise InvalidArgument(f"unsupported manifest media type {effective}")
    if shape.has("manifests"):
        if effective in MANIFEST_TYPES:
            raise InvalidArgument("ambiguous manifest: an index under the media type of a manifest")
        return _checked_index(_decode(Index, raw))
    if effective in INDEX_TYPES:
        raise InvalidArgument("ambiguous manifest: a manifest under the media type of an index")
    return _checked_manifest(_decode(Manifest, raw))


def media_type_of(document: Manifest | Index, announced: str = "") -> str:
    """The media type to store and send `document` under."""
    announced = announced.partition(";")[0].strip()
    if document.media_type:
        return document.media_type
    if announced in INDEX_TYPES | MANIFEST_TYPES:
        return announced
    if isinstance(document, Index):
        return OCI_INDEX
    return DOCKER_MANIFEST if document.config.media_type == DOCKER_CONFIG else OCI_MANIFEST


def parse_image(raw: bytes) -> Image:
    """The image configuration in `raw`. Raises InvalidArgument."""
    if len(raw) > CONFIG_LIMIT:
        raise InvalidArgument(f"image configuration of {len(raw)} bytes is larger than the limit of {CONFIG_LIMIT}")
    image = _decode(Image, raw)
    for diff_id in image.diff_ids:
        if not is_digest(diff_id):
            raise InvalidArgument("image configuration has an invalid diff id")
    if image.rootfs.type not in {"layers", ""}:
        raise InvalidArgument("image configuration has an unknown type of rootfs")
    return image


def check_layers(manifest: Manifest, image: Image) -> None:
    """Raise InvalidArgument unless manifest and configuration tell of equally many layers, all of a known kind."""
    if len(manifest.layers) != len(image.diff_ids):
        raise InvalidArgument(
            f"image has {len(manifest.layers)} layers, but its configuration lists {len(image.diff_ids)} diff ids"
        )
    for layer in manifest.layers:
        check_layer_type(layer)


def check_layer_type(layer: Descriptor) -> None:
    """Raise UnsupportedImage for layers that this engine will not fetch or unpack."""
    if layer.media_type == DOCKER_FOREIGN_LAYER or "nondistributable" in layer.media_type:
        raise UnsupportedImage(
            f"layer {layer.digest} is a foreign layer that its registry does not hold",
            hint="images with foreign layers (of Windows) cannot be used on Linux",
        )
    if layer.media_type not in _PLAIN_LAYERS | _COMPRESSED_LAYERS:
        raise UnsupportedImage(f"layer {layer.digest} has the unsupported media type {layer.media_type}")


def is_image(manifest: Manifest) -> bool:
    """Whether `manifest` is of a container image, not of another artifact."""
    return manifest.config.media_type in _CONFIG_TYPES


def choose_manifest(index: Index, wanted: Platform) -> Descriptor | None:
    """The entry of `index` for `wanted`: the best variant, first of equals; attestations are passed over."""
    entries = [
        entry
        for entry in index.manifests
        if (entry.media_type in MANIFEST_TYPES | INDEX_TYPES or not entry.media_type)
        and not (entry.annotations or {}).get(ANNOTATION_BASE_TYPE)
    ]
    number = platform.choose([e.platform.to_platform() if e.platform else None for e in entries], wanted)
    if number is not None:
        return entries[number]
    return entries[0] if len(entries) == 1 and entries[0].platform is None else None


@lru_cache(maxsize=16)
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def _decode(kind: type[T], raw: bytes) -> T:
    try:
        document: T = _decoder(kind).decode(raw)  # type: ignore[arg-type]
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise InvalidArgument(f"invalid image document: {error}") from error
    return document


def _checked_manifest(manifest: Manifest) -> Manifest:
    if len(manifest.layers) > _LAYERS_LIMIT:
        raise InvalidArgument(f"manifest has more than {_LAYERS_LIMIT} layers")
    for descriptor in (manifest.config, *manifest.layers):
        _check_descriptor(descriptor)
    return manifest


def _checked_index(index: Index) -> Index:
    for descriptor in index.manifests:
        _check_descriptor(descriptor)
    return index


def _check_descriptor(descriptor: Descriptor) -> None:
    if not is_digest(descriptor.digest):
        raise InvalidArgument("manifest has a descriptor without a valid sha256 digest")
    if descriptor.size < 0:
        raise InvalidArgument(f"manifest has a descriptor of {descriptor.digest} with a negative size")
    if descriptor.size > _SIZE_LIMIT:
        raise InvalidArgument(f"manifest has a descriptor of {descriptor.digest} with a size that is no 64-bit number")
