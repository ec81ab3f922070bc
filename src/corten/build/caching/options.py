"""Where a build's cache comes from and goes to, as clients say it: `type=registry,ref=...` in its parts. Pure; daemon.

All faces use this: BuildKit's CacheOptions (a type and attributes), the classic API's `cachefrom` and `cacheto`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from corten.errors import InvalidArgument
from corten.errors import NotImplemented as NotOffered
from corten.spec import reference as references
from corten.spec.reference import Reference

_MOST = 64
_TEXT = 4096
_IMPORTS = ("registry", "local")
_EXPORTS = ("inline", "registry", "local")
_COMPRESSIONS = ("", "gzip")
INLINE_ARGUMENT = "BUILDKIT_INLINE_CACHE"


class _Entry(msgspec.Struct, rename="pascal"):
    type: str
    attrs: dict[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheImport:
    """One cache to look into: an image or cache at a registry (`reference`), or a directory of the client's (`path`),
    of which `tag` or `digest` says which manifest."""

    kind: Literal["registry", "local"]
    reference: Reference | None = None
    path: str = ""
    tag: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        """What people call it."""
        return self.reference.familiar if self.reference else self.path


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheExport:
    """One place for the build's cache: the image itself (inline), a registry (`reference`), a directory (`path`).

    `everything` (mode=max) takes all steps, not only those whose layers the result has. `mounts`, Corten's own, takes
    the cache mounts of the build's steps, too. With `ignore_error` a failure is a warning.
    """

    kind: Literal["inline", "registry", "local"]
    reference: Reference | None = None
    path: str = ""
    tag: str = "latest"
    everything: bool = False
    mounts: bool = False
    ignore_error: bool = False

    @property
    def name(self) -> str:
        """What people call it."""
        return self.reference.familiar if self.reference else self.path or "the image"


def parse_import(kind: str, attributes: Mapping[str, str]) -> CacheImport:
    """A cache to look into. Raises InvalidArgument; NotImplemented for kinds that the engine does not know."""
    _check(attributes)
    if kind == "registry":
        return CacheImport(kind="registry", reference=_reference(attributes, "import"))
    if kind == "local":
        path, digest = attributes.get("src", ""), attributes.get("digest", "")
        if not path:
            raise InvalidArgument("cache import of type local needs src")
        return CacheImport(kind="local", path=path, tag=attributes.get("tag", "latest"), digest=digest)
    raise NotOffered(f"cache import of type {kind[:32]!r} is not supported: it may be {', '.join(_IMPORTS)}")


def parse_export(kind: str, attributes: Mapping[str, str]) -> CacheExport:
    """A place for the cache. Raises InvalidArgument; NotImplemented for kinds that the engine does not know."""
    _check(attributes)
    if kind not in _EXPORTS:
        raise NotOffered(f"cache export of type {kind[:32]!r} is not supported: it may be {', '.join(_EXPORTS)}")
    mode = attributes.get("mode", "") or "min"
    if mode not in ("min", "max"):
        raise InvalidArgument(f"invalid cache export mode {mode[:32]!r}: it may be min or max")
    if kind == "inline":
        return CacheExport(kind="inline")
    if attributes.get("compression", "") not in _COMPRESSIONS:
        raise NotOffered(f"cache export with compression {attributes['compression'][:32]!r} is not supported: use gzip")
    everything, mounts = mode == "max", _flag(attributes, "mounts")
    ignore_error = _flag(attributes, "ignore-error")
    if kind == "registry":
        reference = _reference(attributes, "export")
        if reference.digest:
            raise InvalidArgument(f"cache export to {reference.familiar}: a tag is needed, not a digest")
        return CacheExport(
            kind="registry", reference=reference, everything=everything, mounts=mounts, ignore_error=ignore_error
        )
    if not attributes.get("dest"):
        raise InvalidArgument("cache export of type local needs dest")
    return CacheExport(
        kind="local",
        path=attributes["dest"],
        tag=attributes.get("tag", "") or "latest",
        everything=everything,
        mounts=mounts,
        ignore_error=ignore_error,
    )


def parse_imports(listed: Sequence[Any]) -> tuple[CacheImport, ...]:
    """`cachefrom`: names of images, or (Corten's own) `{"Type", "Attrs"}` as BuildKit has it.

    Raises as `parse_import`.
    """
    return tuple(
        parse_import("registry", {"ref": entry}) if isinstance(entry, str) else parse_import(*_parts(entry))
        for entry in _bounded(listed)
        if entry
    )


def parse_exports(listed: Sequence[Any], build_args: Mapping[str, str | None]) -> tuple[CacheExport, ...]:
    """`cacheto`, Corten's own, and BUILDKIT_INLINE_CACHE=1 among the build's arguments. Raises as `parse_export`."""
    found = [parse_export(*_parts(entry)) for entry in _bounded(listed)]
    return with_inline(found, build_args)


def with_inline(exports: Sequence[CacheExport], build_args: Mapping[str, str | None]) -> tuple[CacheExport, ...]:
    """The exports, and the inline one if a build argument asks for it."""
    asked = build_args.get(INLINE_ARGUMENT) in ("1", "true")
    if asked and not any(one.kind == "inline" for one in exports):
        return (*exports, CacheExport(kind="inline"))
    return tuple(exports)


def _bounded(listed: Sequence[Any]) -> Sequence[Any]:
    if len(listed) > _MOST:
        raise InvalidArgument(f"more than {_MOST} caches")
    return listed


def _parts(entry: Any) -> tuple[str, dict[str, str]]:
    try:
        found = msgspec.convert(entry, _Entry)
    except msgspec.ValidationError as error:
        raise InvalidArgument('a cache is {"Type": "...", "Attrs": {...}}') from error
    return found.type, found.attrs or {}


def _check(attributes: Mapping[str, str]) -> None:
    if any(len(text) > _TEXT or "\0" in text for pair in attributes.items() for text in pair):
        raise InvalidArgument("a cache's attribute is too long")


def _reference(attributes: Mapping[str, str], what: str) -> Reference:
    if not attributes.get("ref"):
        raise InvalidArgument(f"cache {what} of type registry needs ref")
    return references.parse(attributes["ref"]).with_default_tag()


def _flag(attributes: Mapping[str, str], name: str) -> bool:
    text = attributes.get(name, "").lower()
    if text not in ("", "0", "1", "true", "false"):
        raise InvalidArgument(f"invalid value {text[:32]!r} for {name}: it may be true or false")
    return text in ("1", "true")
