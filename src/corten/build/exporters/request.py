"""What is asked to come out of a build: exporters' types and attributes, in BuildKit's words, as records. Pure; daemon.

The words are those of `docker buildx build --output` and of BuildKit's README ("Output"). An attribute that is not
known is an error: it would ask for something that does not happen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from corten.build.exporters.annotations import NONE, Annotations, is_annotation, parse_annotations
from corten.errors import InvalidArgument
from corten.spec import reference as references
from corten.spec.reference import InvalidReference, Reference

_COMPRESSIONS = {"uncompressed": (0, 0), "gzip": (1, 9), "zstd": (1, 22)}  # the levels that each has
_NAMES_LIMIT = 100
_EPOCH_LIMIT = 1 << 40
_OUTPUTS_LIMIT = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Compression:
    """Of layers. An empty kind leaves it to the exporter; `force`: also of layers that came from elsewhere."""

    kind: str = ""
    level: int | None = None
    force: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How an image's documents and layers are written.

    `rewrite`: no time in a new layer is later than SOURCE_DATE_EPOCH, which `epoch_s` may set for one export.
    """

    compression: Compression = Compression()
    annotations: Annotations = NONE
    oci_types: bool = True
    rewrite: bool = True
    epoch_s: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageExport:
    """An image of this engine (`store`), of a registry (`push`), or of both. Without names it has none, or
    `dangling_prefix@digest`. `by_digest`: the registry gives the image no tag. `unpack` is always true here: an image
    that is stored can run."""

    names: tuple[Reference, ...] = ()
    push: bool = False
    by_digest: bool = False
    store: bool = True
    dangling_prefix: str = ""
    layout: Layout = Layout()


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveExport:
    """An OCI image layout: `oci` as it is, `docker` for `docker load` (one platform, no attestations). `is_tree`: its
    blobs one by one, for a client that keeps a layout in a directory."""

    kind: str
    names: tuple[Reference, ...] = ()
    layout: Layout = Layout()
    is_tree: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesExport:
    """The file system: `local` in a directory, `tar` in a tar. `split`: a directory a platform, None: when there are
    several. `prefix` is of the names of attestations."""

    kind: str
    split: bool | None = None
    prefix: str = ""
    epoch_s: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheOnly:
    """Nothing but what the build cache keeps."""


Export = ImageExport | ArchiveExport | FilesExport | CacheOnly


class _Attributes:
    """Those of one output, taken one by one; what is left over in the end is an error."""

    def __init__(self, kind: str, attributes: Mapping[str, str]) -> None:
        self._kind = kind
        self._annotations = {name: value for name, value in attributes.items() if is_annotation(name)}
        self._left = {name: value for name, value in attributes.items() if not is_annotation(name)}

    def has(self, name: str) -> bool:
        return name in self._left

    def text(self, name: str) -> str:
        return self._left.pop(name, "")

    def flag(self, name: str, default: bool) -> bool:
        text = self._left.pop(name, None)
        if text is None:
            return default
        if text.lower() in ("", "true", "1", "t"):
            return True
        if text.lower() in ("false", "0", "f"):
            return False
        raise InvalidArgument(f"non-bool value {text[:32]!r} specified for {name}")

    def number(self, name: str, least: int, most: int) -> int | None:
        text = self._left.pop(name, "")
        if not text:
            return None
        if not (text.isascii() and text.isdigit() and len(text) < 16 and least <= int(text) <= most):
            raise InvalidArgument(f"invalid value {text[:32]!r} for {name}: a number from {least} to {most} is needed")
        return int(text)

    def names(self) -> tuple[Reference, ...]:
        """The tags: several with commas between them."""
        found = [text.strip() for text in self.text("name").split(",") if text.strip()]
        if len(found) > _NAMES_LIMIT:
            raise InvalidArgument(f"an image can have {_NAMES_LIMIT} names at once at most")
        return tuple(dict.fromkeys(image_name(text) for text in found))

    def layout(self) -> Layout:
        kind = self.text("compression")
        if kind and kind not in _COMPRESSIONS:
            raise InvalidArgument(
                f"unsupported layer compression type: {kind[:32]!r}: it may be {', '.join(_COMPRESSIONS)}"
            )
        level = self.number("compression-level", *_COMPRESSIONS.get(kind or "gzip", (0, 0)))
        force = self.flag("force-compression", default=False)
        return Layout(
            compression=Compression(kind=kind, level=level, force=force),
            annotations=parse_annotations(self._annotations),
            oci_types=self.flag("oci-mediatypes", default=True),
            rewrite=self.flag("rewrite-timestamp", default=True),
            epoch_s=self.number("source-date-epoch", 0, _EPOCH_LIMIT),
        )

    def finish(self, *harmless: str) -> None:
        left = sorted(set(self._left) - set(harmless))
        if left:
            raise InvalidArgument(f"output {self._kind}: not supported: {', '.join(left)[:128]}")


def _image(kind: str, attributes: _Attributes) -> Export:
    prefix = attributes.text("dangling-name-prefix")
    if prefix:
        references.parse(prefix)
    by_digest = attributes.flag("push-by-digest", default=False)
    found = ImageExport(
        names=_by_digest(attributes.text("name")) if by_digest else attributes.names(),
        push=attributes.flag("push", default=kind == "registry"),
        by_digest=by_digest,
        store=attributes.flag("store", default=not by_digest),
        dangling_prefix=prefix,
        layout=attributes.layout(),
    )
    attributes.flag("unpack", default=True)
    attributes.flag("name-canonical", default=False)
    attributes.finish("attestation-inline", "danglin-emptylayer-optimization")
    return found


def _by_digest(text: str) -> tuple[Reference, ...]:
    """Repositories alone: what is pushed has no tag."""
    names = [references.parse(part.strip()) for part in text.split(",") if part.strip()]
    if any(name.tag or name.digest for name in names):
        raise InvalidReference("can't push tagged ref by digest: give the repository's name alone")
    return tuple(names)


def _archive(kind: str, attributes: _Attributes) -> Export:
    found = ArchiveExport(
        kind=kind,
        names=attributes.names(),
        layout=attributes.layout(),
        is_tree=not attributes.flag("tar", default=True),
    )
    attributes.finish("dest", "context", "load")
    return found


def _files(kind: str, attributes: _Attributes) -> Export:
    split = attributes.flag("platform-split", default=True) if attributes.has("platform-split") else None
    found = FilesExport(
        kind=kind,
        split=split,
        prefix=attributes.text("attestation-prefix"),
        epoch_s=attributes.number("source-date-epoch", 0, _EPOCH_LIMIT),
    )
    if "/" in found.prefix or "\0" in found.prefix:
        raise InvalidArgument("invalid attestation-prefix: it is the beginning of a file's name")
    attributes.finish("dest")
    return found


def _nothing(kind: str, attributes: _Attributes) -> Export:  # noqa: ARG001 - the form of the table
    attributes.finish()
    return CacheOnly()


_PARSERS: Mapping[str, Callable[[str, _Attributes], Export]] = {
    "image": _image,
    "registry": _image,
    "moby": _image,  # what BuildKit's clients call the image store of an engine
    "oci": _archive,
    "docker": _archive,
    "local": _files,
    "tar": _files,
    "cacheonly": _nothing,
}
TYPES = tuple(_PARSERS)


def parse_export(kind: str, attributes: Mapping[str, str]) -> Export:
    """One output. Raises InvalidArgument, InvalidReference."""
    parser = _PARSERS.get(kind)
    if parser is None:
        raise InvalidArgument(f"output type {kind[:32]!r} is not supported: it may be {', '.join(TYPES)}")
    return parser(kind, _Attributes(kind, attributes))


def parse_exports(entries: Sequence[tuple[str, Mapping[str, str]]]) -> tuple[Export, ...]:
    """All outputs of a build: (type, attributes) of each. Raises InvalidArgument, InvalidReference."""
    if len(entries) > _OUTPUTS_LIMIT:
        raise InvalidArgument(f"a build can have {_OUTPUTS_LIMIT} outputs at most")
    return tuple(parse_export(kind, attributes) for kind, attributes in entries)


def check_names(exports: Sequence[Export], names: Sequence[Reference]) -> None:
    """Raise InvalidArgument for an export that needs a name and has none, nor one of these: before the build."""
    for export in exports:
        if isinstance(export, ImageExport) and export.push and not (export.names or (names and not export.by_digest)):
            raise InvalidArgument("tag is needed when pushing to registry")


def image_name(text: str) -> Reference:
    """A name for the image. Raises InvalidReference."""
    name = references.parse(text).with_default_tag()
    if name.digest is not None:
        raise InvalidReference("refusing to create a tag with a digest reference")
    return name
