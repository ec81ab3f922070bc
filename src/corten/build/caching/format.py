"""The build cache as documents: BuildKit's forms, with Corten's records in them. Pure; daemon.

A registry and a directory hold a manifest whose configuration is `application/vnd.buildkit.cacheconfig.v0`: layers,
each upon a parent, and records that name their topmost one. An image carries its own records
(`moby.buildkit.cache.v0`), which name its layers by number. Source: BuildKit's cache/remotecache/v1/types and docs.
Keys of one builder mean nothing to another, so a record's digest is Corten's key, with what else Corten knows in a
field that others pass over.

What is read is a stranger's: numbers are bounded, layers are of a known kind, and nothing in it is a path. What it says
of blobs that are here already, which nobody fetches and verifies again, has to be so.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from corten.build.filesystem import FileSystem, Layer
from corten.errors import CortenError, InvalidArgument
from corten.lib import codec
from corten.spec import oci_image
from corten.spec.digest import is_digest
from corten.spec.oci_image import DOCKER_LAYER, OCI_LAYER, Descriptor, Image, Manifest

CACHE_CONFIG = "application/vnd.buildkit.cacheconfig.v0"
CONFIG_LIMIT = 16 << 20
UNCOMPRESSED = "containerd.io/uncompressed"
LAYERS_LIMIT = 1000  # manifests with more are refused when they are read
_RECORDS = 5000
_ALIASES = 16
_DEPTH = 125
_NAME = 256
_KEY = re.compile(r"[0-9a-f]{64}\Z")
_MOUNT = re.compile(r"[0-9a-f]{32}\Z")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z\Z")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One record of a cache: a key and further ones that lead to it, and the file system, whose topmost `own_layers`
    are this step's own."""

    key: str
    filesystem: FileSystem
    own_layers: int = 0
    aliases: tuple[str, ...] = ()
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheMountRecord:
    """A cache mount: the name of its directory (`cache_mounts.name_of`), and the layer that holds it."""

    name: str
    layer: Layer


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheContent:
    """What a cache holds."""

    steps: tuple[Step, ...] = ()
    mounts: tuple[CacheMountRecord, ...] = ()


class InlineImage(Image, frozen=True, kw_only=True):
    """An image's configuration that carries the records of its own steps."""

    cache: str | None = msgspec.field(default=None, name="moby.buildkit.cache.v0")


class _Own(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    own: int = 0
    aliases: list[str] = []
    name: str = ""


class _Result(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    layer: int = 0
    created_at: str = "0001-01-01T00:00:00Z"  # what Go calls no time


class _Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    digest: str = ""
    layers: list[_Result] = []
    corten: _Own | None = None


class _Notes(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    media_type: str = msgspec.field(default="", name="mediaType")
    diff_id: str = msgspec.field(default="", name="diffID")
    size: int = 0
    created_at: str = msgspec.field(default="0001-01-01T00:00:00Z", name="createdAt")


class _Layer(msgspec.Struct, frozen=True, kw_only=True):
    blob: str = ""
    parent: int = 0
    annotations: _Notes = _Notes()


class _Mount(msgspec.Struct, frozen=True, kw_only=True):
    name: str = ""
    layer: int = 0


class _Extension(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    mounts: list[_Mount] = []


class _Config(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    layers: list[_Layer] = []
    records: list[_Record] = []
    corten: _Extension | None = None


# -- written


def encode_config(content: CacheContent) -> tuple[bytes, list[Descriptor]]:
    """The configuration of a cache, and the blobs that it names, each once."""
    layers: list[_Layer] = []
    numbers: dict[tuple[str, int, str], int] = {}
    blobs: dict[str, Descriptor] = {}

    def number_of(layer: Layer, parent: int) -> int:
        identity = (layer.blob.digest, parent, layer.key)
        if identity not in numbers:
            numbers[identity] = len(layers)
            layers.append(_described(layer, parent))
            blobs.setdefault(layer.blob.digest, _named(layer))
        return numbers[identity]

    def top_of(filesystem: FileSystem) -> int:
        top = -1
        for layer in filesystem.layers:
            top = number_of(layer, top)
        return top

    records = [_record(step, top_of(step.filesystem)) for step in content.steps if step.filesystem.layers]
    mounts = [_Mount(name=mount.name, layer=number_of(mount.layer, -1)) for mount in content.mounts]
    extension = _Extension(mounts=mounts) if mounts else None
    raw = codec.encode(_Config(layers=layers, records=records, corten=extension))
    return raw, list(blobs.values())


def encode_inline(steps: Iterable[Step], filesystem: FileSystem) -> str:
    """The records of an image of these layers, as its configuration has them: those of its own steps."""
    diff_ids = [layer.diff_id for layer in filesystem.layers]
    records = [
        _record(step, len(step.filesystem.layers) - 1)
        for step in steps
        if step.filesystem.layers
        and [layer.diff_id for layer in step.filesystem.layers] == diff_ids[: len(step.filesystem.layers)]
    ]
    return base64.b64encode(codec.encode(records)).decode() if records else ""


def _record(step: Step, top: int) -> _Record:
    created = step.filesystem.layers[-1].created if step.own_layers else ""
    return _Record(
        digest=f"sha256:{step.key}",
        layers=[_Result(layer=top, created_at=created)] if _TIME.match(created) else [_Result(layer=top)],
        corten=_Own(own=step.own_layers, aliases=list(step.aliases), name=step.name[:_NAME]),
    )


def _described(layer: Layer, parent: int) -> _Layer:
    notes = _Notes(media_type=layer.blob.media_type, diff_id=layer.diff_id, size=layer.blob.size)
    if _TIME.match(layer.created):
        notes = msgspec.structs.replace(notes, created_at=layer.created)
    return _Layer(blob=layer.blob.digest, parent=parent, annotations=notes)


def _named(layer: Layer) -> Descriptor:
    return Descriptor(
        media_type=layer.blob.media_type,
        digest=layer.blob.digest,
        size=layer.blob.size,
        annotations={UNCOMPRESSED: layer.diff_id},
    )


# -- read


def believable(content: CacheContent, size_of: Callable[[str], int | None]) -> CacheContent:
    """What of a cache can be so: without records of layers that have another size here (`size_of`; None: not here), or
    that are plain and called by another digest than their own."""

    sizes: dict[str, int | None] = {}

    def can_be(layer: Layer) -> bool:
        blob = layer.blob
        if blob.media_type in (OCI_LAYER, DOCKER_LAYER) and blob.digest != layer.diff_id:
            return False
        if blob.digest not in sizes:
            sizes[blob.digest] = size_of(blob.digest)
        return sizes[blob.digest] in (None, blob.size)

    return CacheContent(
        steps=tuple(step for step in content.steps if all(map(can_be, step.filesystem.layers))),
        mounts=tuple(mount for mount in content.mounts if can_be(mount.layer)),
    )


def decode_config(raw: bytes, blobs: Iterable[Descriptor]) -> CacheContent:
    """What the configuration of a cache says; `blobs` are those that the manifest names. Records that are another
    builder's, or not whole, are left out. Raises InvalidArgument for what is no such document."""
    config = _decode(_Config, raw, CONFIG_LIMIT)
    if len(config.layers) > LAYERS_LIMIT * 2 or len(config.records) > _RECORDS:
        raise InvalidArgument("the cache has more layers or records than are taken")
    known = {blob.digest: blob for blob in blobs}
    chains = [_chain(config.layers, number) for number in range(len(config.layers))]
    made = _made(config.records, {number: chain for number, chain in enumerate(chains) if chain})
    layers = [_layer(layer, known, made.get(number)) for number, layer in enumerate(config.layers)]
    steps = []
    for record in config.records:
        chain = chains[record.layers[0].layer] if _is_ours(record, len(chains)) else []
        found = [layer for number in chain if (layer := layers[number]) is not None]
        if found and len(found) == len(chain):
            steps.append(_step(record, found))
    mounts = []
    for mount in config.corten.mounts[:_RECORDS] if config.corten else ():
        held = layers[mount.layer] if 0 <= mount.layer < len(layers) else None
        if held is not None and _MOUNT.match(mount.name):
            mounts.append(CacheMountRecord(name=mount.name, layer=held))
    return CacheContent(steps=tuple(steps), mounts=tuple(mounts))


def decode_inline(config_raw: bytes, manifest: Manifest, image: Image) -> CacheContent:
    """The records that an image carries. Raises InvalidArgument for what is none; no record when it carries none."""
    carried = _decode(InlineImage, config_raw, oci_image.CONFIG_LIMIT).cache
    if not carried:
        return CacheContent()
    try:
        raw = base64.b64decode(carried, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidArgument("the image's cache records are not readable") from error
    records = _decode(list[_Record], raw, oci_image.CONFIG_LIMIT)[:_RECORDS]
    count = min(len(manifest.layers), _DEPTH)
    made = _made(records, {number: list(range(number + 1)) for number in range(count)})
    layers = [
        Layer(blob=blob, diff_id=diff_id, created=made.get(n, ("", ""))[1], key=made.get(n, ("", ""))[0])
        for n, (blob, diff_id) in enumerate(zip(manifest.layers, image.diff_ids, strict=True))
    ]
    ours = [record for record in records if _is_ours(record, count)]
    return CacheContent(steps=tuple(_step(record, layers[: record.layers[0].layer + 1]) for record in ours))


def _decode(kind: type[_T], raw: bytes, limit: int) -> _T:
    if len(raw) > limit:
        raise InvalidArgument(f"the cache's records of {len(raw)} bytes are larger than the limit of {limit}")
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise InvalidArgument(f"invalid cache records: {error}") from error


def _is_ours(record: _Record, layers: int) -> bool:
    return (
        record.corten is not None
        and len(record.layers) == 1
        and 0 <= record.layers[0].layer < layers
        and bool(_KEY.match(record.digest.removeprefix("sha256:")))
    )


def _chain(layers: Sequence[_Layer], number: int) -> list[int]:
    """The numbers of a layer and those below it, lowest first; empty when they have no end or a wrong one."""
    chain: list[int] = []
    while number != -1:
        if not 0 <= number < len(layers) or len(chain) == _DEPTH:
            return []
        chain.append(number)
        number = layers[number].parent
    return chain[::-1]


def _made(records: Iterable[_Record], chains: Mapping[int, Sequence[int]]) -> dict[int, tuple[str, str]]:
    """(key, time) of the step that made each layer, by the layer's number."""
    made: dict[int, tuple[str, str]] = {}
    for record in records:
        if record.corten is None or not record.layers or record.corten.own <= 0:
            continue
        created = record.layers[0].created_at
        for number in chains.get(record.layers[0].layer, ())[-record.corten.own :]:
            made.setdefault(number, (record.digest.removeprefix("sha256:"), _time(created)))
    return {number: found for number, found in made.items() if _KEY.match(found[0])}


def _time(text: str) -> str:
    return text if _TIME.match(text) and not text.startswith("0001-") else ""


def _layer(layer: _Layer, known: Mapping[str, Descriptor], made: tuple[str, str] | None) -> Layer | None:
    """A layer as file systems have it; None when the manifest does not name it, or it is of no known kind."""
    blob = known.get(layer.blob)
    if blob is None or not is_digest(layer.annotations.diff_id):
        return None
    own = Descriptor(media_type=layer.annotations.media_type or blob.media_type, digest=blob.digest, size=blob.size)
    try:
        oci_image.check_layer_type(own)
    except CortenError:
        return None
    key, created = made or ("", "")
    return Layer(blob=own, diff_id=layer.annotations.diff_id, created=created, key=key)


def _step(record: _Record, layers: Sequence[Layer]) -> Step:
    assert record.corten is not None
    aliases = [alias for alias in record.corten.aliases[:_ALIASES] if _KEY.match(alias)]
    return Step(
        key=record.digest.removeprefix("sha256:"),
        filesystem=FileSystem(layers=tuple(layers)),
        own_layers=min(max(record.corten.own, 0), len(layers)),
        aliases=tuple(aliases),
        name="".join(c for c in record.corten.name[:_NAME] if c.isprintable()),
    )
