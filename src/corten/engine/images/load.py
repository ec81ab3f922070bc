"""Loading images from an archive: docker-archive or OCI layout, plain or compressed. Daemon's loop; disk threads.

Source: OCI image-layout.md; Docker's image specification v1.2 (manifest.json). Members are looked up by their exact
names in an index of the tar's regular files; links, devices and paths have no meaning, so nothing can be led outside.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

import msgspec

from corten.engine.images.arrival import ChosenImage, choose
from corten.engine.images.content_tree import grow
from corten.engine.images.decompress import compression_of
from corten.engine.images.tar_index import Member, Section, clean_name, index_tar
from corten.errors import DataLoss, InvalidArgument
from corten.lib import codec
from corten.registry.fetch import OnProgress, RawManifest, Sink
from corten.registry.session import OnRetry
from corten.spec import oci_image
from corten.spec import platform as platforms
from corten.spec import reference as references
from corten.spec.digest import digest_of, hex_of
from corten.spec.oci_image import (
    ANNOTATION_IMAGE_NAME,
    ANNOTATION_REF_NAME,
    CONFIG_LIMIT,
    MANIFEST_LIMIT,
    OCI_CONFIG,
    OCI_LAYER,
    OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD,
    OCI_MANIFEST,
    Descriptor,
    Index,
)
from corten.spec.platform import Platform
from corten.spec.reference import InvalidReference, Reference

_CHUNK = 1 << 20
_IMAGES_LIMIT = 1000


@dataclass(frozen=True, slots=True)
class ArchivedImage:
    """One image of an archive, and the names it wants."""

    chosen: ChosenImage
    names: list[Reference]


class _DockerEntry(msgspec.Struct, rename="pascal"):
    config: str
    repo_tags: list[str] | None = None
    layers: list[str] | None = None


class ArchiveSource:
    """The blobs of an archive, by digest."""

    def __init__(self, file: BinaryIO, members: Mapping[str, Member]) -> None:
        self._file = file
        self._members = members
        self._by_digest: dict[str, Member] = {}
        for name, member in members.items():
            parts = name.split("/")
            if len(parts) == 3 and parts[:2] == ["blobs", "sha256"]:
                self._by_digest[f"sha256:{parts[2]}"] = member

    def add(self, digest: str, member: Member) -> None:
        """Let `member` be found by its digest."""
        self._by_digest[digest] = member

    def has(self, digest: str) -> bool:
        """Whether the archive holds this blob."""
        return digest in self._by_digest

    def member(self, name: str) -> Member:
        """The regular file with exactly this name. Raises InvalidArgument."""
        found = self._members.get(clean_name(name))
        if found is None:
            raise InvalidArgument(f"invalid archive: it has no file {name[:256]!r}")
        return found

    def read(self, member: Member, limit: int) -> bytes:
        """A small file. Raises InvalidArgument above `limit`."""
        if member.size > limit:
            raise InvalidArgument(f"invalid archive: a document of {member.size} bytes is over the limit of {limit}")
        return Section(self._file, member).read()

    def open(self, member: Member) -> Section:
        """One file, to be read from its start."""
        return Section(self._file, member)

    def manifest(self, descriptor: Descriptor) -> RawManifest:
        """The manifest that an index names. Raises InvalidArgument, DataLoss."""
        raw = self.read(self._blob(descriptor), MANIFEST_LIMIT)
        if digest_of(raw) != descriptor.digest:
            raise DataLoss(f"manifest verification failed for digest {descriptor.digest}")
        return RawManifest(descriptor.media_type, digest_of(raw), raw)

    def document(self, descriptor: Descriptor) -> bytes | None:
        """A manifest's verified bytes, None when the archive does not have it."""
        return self.manifest(descriptor).raw if self.has(descriptor.digest) else None

    def blob(
        self,
        descriptor: Descriptor,
        sink: Sink,
        *,
        on_progress: OnProgress | None = None,
        on_retry: OnRetry | None = None,  # noqa: ARG002 - a file does not fail in passing
    ) -> None:
        """Append what `sink` lacks."""
        member = self._blob(descriptor)
        if member.size != descriptor.size:
            raise DataLoss(f"{descriptor.digest}: archive has {member.size} bytes, expected {descriptor.size}")
        section = Section(self._file, Member(member.offset + sink.offset, member.size - sink.offset))
        while chunk := section.read(_CHUNK):
            sink.write(chunk)
            if on_progress is not None:
                on_progress(sink.offset)

    def _blob(self, descriptor: Descriptor) -> Member:
        member = self._by_digest.get(descriptor.digest)
        if member is None:
            raise InvalidArgument(f"invalid archive: it has no blob {descriptor.digest}")
        return member


@dataclass(frozen=True, slots=True)
class Wish:
    """Which platforms to load: these alone, or with none all there are. One of them becomes the image's own."""

    platforms: tuple[Platform, ...] = ()

    @property
    def explicit(self) -> bool:
        """Whether somebody asked for platforms."""
        return bool(self.platforms)

    @property
    def first(self) -> Platform:
        """The one to be the image's own: the machine's if it may be, else the first."""
        host = platforms.host_platform()
        fits = [wanted for wanted in self.platforms if platforms.matches(wanted, host)]
        return (*fits, *self.platforms, host)[0]

    def select(self, available: Sequence[Platform | None]) -> list[int]:
        """Which of `available` are loaded, in order."""
        if not self.platforms:
            return list(range(len(available)))
        return sorted({n for n in (platforms.choose(available, p) for p in self.platforms) if n is not None})


def read_archive(file: BinaryIO, wish: Wish, *, check: Callable[[], None]) -> tuple[ArchiveSource, list[ArchivedImage]]:
    """The images in the tar `file`. Blocking; `check` is called between large reads and may raise.

    Raises InvalidArgument for what is no image archive, NoMatchingPlatform.
    """
    members = index_tar(file)
    source = ArchiveSource(file, members)
    if "index.json" in members and "oci-layout" in members:
        images = _from_layout(source, wish)
        if images or "manifest.json" not in members:
            return source, images
    if "manifest.json" in members:
        return source, _from_docker(source, wish, check=check)
    raise InvalidArgument("invalid archive: does not contain a manifest.json or an index.json")


def _from_layout(source: ArchiveSource, wish: Wish) -> list[ArchivedImage]:
    raw = source.read(source.member("index.json"), MANIFEST_LIMIT)
    index = oci_image.parse_document(raw)
    if not isinstance(index, Index) or len(index.manifests) > _IMAGES_LIMIT:
        raise InvalidArgument("invalid archive: index.json is no index of a sensible size")
    images: dict[str, ArchivedImage] = {}
    for entry in index.manifests:
        if (entry.annotations or {}).get(oci_image.ANNOTATION_BASE_TYPE) or not source.has(entry.digest):
            continue
        name = _name_of(entry)
        known = images.get(entry.digest)
        if known is None:
            given = name.familiar if name else entry.digest
            known = ArchivedImage(_choose_here(source, entry, wish, given=given), [])
            images[entry.digest] = known
        if name is not None and name not in known.names:
            known.names.append(name)
    return list(images.values())


def _choose_here(source: ArchiveSource, entry: Descriptor, wish: Wish, *, given: str) -> ChosenImage:
    """The image of an archive's tree for `wish`: of those that are there, since an index may tell of more.

    What else of it is there and wished for comes along. When nobody asked for a platform, another one than the
    machine's does, too.
    """
    wanted, explicit = wish.first, wish.explicit
    tree = grow(entry, source.document)
    if tree.document is None or not isinstance(tree.document, Index):
        return choose(source, source.manifest(entry), wanted, given=given, explicit=explicit)
    here = [n for n in tree.manifests() if not n.is_attestation and n.is_complete(source.has)]
    available = [n.descriptor.platform.to_platform() if n.descriptor.platform else None for n in here]
    found = platforms.choose(available, wanted)
    if found is None and (explicit or not here):
        return choose(source, source.manifest(entry), wanted, given=given, explicit=explicit)
    node = here[found or 0]
    assert node.raw is not None
    top = RawManifest(node.descriptor.media_type, digest_of(node.raw), node.raw)
    chosen = choose(source, top, wanted, given=given, explicit=False)
    own = {chosen.id, chosen.descriptor.digest, *(layer.digest for layer in chosen.manifest.layers)}
    indexes = [n for n in reversed(list(tree.walk())) if isinstance(n.document, Index)]
    loaded = {here[number].descriptor.digest for number in wish.select(available)}
    kept = [n for n in tree.manifests() if not explicit or {n.descriptor.digest, n.about} & loaded]
    companions = {d.digest: d for n in kept for d in (*n.blobs(), n.descriptor) if d.digest not in own}
    return replace(
        chosen,
        indexes=tuple(RawManifest(n.descriptor.media_type, digest_of(n.raw or b""), n.raw or b"") for n in indexes),
        companions=tuple(d for d in companions.values() if source.has(d.digest)),
    )


def _name_of(entry: Descriptor) -> Reference | None:
    annotations = entry.annotations or {}
    text = annotations.get(ANNOTATION_IMAGE_NAME, "")
    if not text:
        text = annotations.get(ANNOTATION_REF_NAME, "")
        if not set(text) & set(":/"):
            return None  # a tag without a repository names nothing
    try:
        name = references.parse(text).with_default_tag()
    except InvalidReference:
        return None
    return name if name.tag else None


def _from_docker(source: ArchiveSource, wish: Wish, *, check: Callable[[], None]) -> list[ArchivedImage]:
    entries = codec.decode(list[_DockerEntry], source.read(source.member("manifest.json"), MANIFEST_LIMIT))
    if len(entries) > _IMAGES_LIMIT:
        raise InvalidArgument(f"invalid archive: more than {_IMAGES_LIMIT} images")
    images = []
    layers: dict[str, Descriptor] = {}
    for entry in entries:
        member = source.member(entry.config)
        config = source.read(member, CONFIG_LIMIT)
        source.add(digest_of(config), member)
        for name in entry.layers or []:
            if name not in layers:
                layers[name] = _describe(source, source.member(name), check)
        manifest = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": OCI_CONFIG, "digest": digest_of(config), "size": len(config)},
            "layers": [msgspec.to_builtins(layers[name]) for name in entry.layers or []],
        }
        names = [references.parse(text) for text in entry.repo_tags or []]
        raw = codec.encode(manifest)
        given = names[0].familiar if names else digest_of(config)
        top = RawManifest(OCI_MANIFEST, digest_of(raw), raw)
        chosen = choose(source, top, wish.first, given=given, explicit=wish.explicit)
        images.append(ArchivedImage(replace(chosen, made_here=True), names))
    return images


def _describe(source: ArchiveSource, member: Member, check: Callable[[], None]) -> Descriptor:
    """A layer's descriptor; its digest is taken over the archive's bytes, its type told by them."""
    section = source.open(member)
    start = section.read(16)
    hashed = hashlib.sha256(start)
    while chunk := section.read(_CHUNK):
        check()
        hashed.update(chunk)
    digest = f"sha256:{hashed.hexdigest()}"
    source.add(digest, member)
    kinds = {"gzip": OCI_LAYER_GZIP, "zstd": OCI_LAYER_ZSTD, "": OCI_LAYER}
    kind: Any = kinds.get(compression_of(start))
    if kind is None:
        raise oci_image.UnsupportedImage(f"layer {hex_of(digest)[:12]} is compressed by {compression_of(start)}")
    return Descriptor(media_type=kind, digest=digest, size=member.size)
