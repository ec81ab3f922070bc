"""Annotations as exporters' attributes name them, by the place where they go. Pure; daemon.

`annotation.KEY` and `annotation-manifest.KEY` go into each image's manifest, `annotation-index.KEY` into the index,
`annotation-manifest-descriptor.KEY` into the index's entry of an image, and `annotation-index-descriptor.KEY` into the
layout's entry of the whole. `annotation-manifest[linux/arm64].KEY` is for one platform alone. Source: BuildKit's
docs/annotations.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from corten.errors import InvalidArgument
from corten.spec import platform as platforms
from corten.spec.platform import Platform

LEVELS = ("manifest", "index", "manifest-descriptor", "index-descriptor")
_NAME = re.compile(r"annotation(?:-(?P<level>[a-z-]+))?(?:\[(?P<platform>[^\]]*)\])?\.(?P<key>.+)\Z", re.DOTALL)
_COUNT_LIMIT = 1000
_BYTES_LIMIT = 256 << 10  # a manifest may have 4 MiB at most


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """One: where it goes, for which platform (None: each), and what it says."""

    level: str
    key: str
    value: str
    platform: Platform | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotations:
    """All of one export."""

    entries: tuple[Annotation, ...] = field(default=())

    def at(self, level: str, platform: Platform | None = None) -> dict[str, str] | None:
        """Those for a place, None without any; those for one platform count more."""
        fitting = [entry for entry in self.entries if entry.level == level and entry.platform in (None, platform)]
        fitting.sort(key=lambda entry: entry.platform is not None)
        return dict(sorted({entry.key: entry.value for entry in fitting}.items())) or None

    def check(self, *, has_index: bool) -> None:
        """Raise InvalidArgument for those that have no place to go to."""
        if not has_index and any(entry.level in ("index", "manifest-descriptor") for entry in self.entries):
            raise InvalidArgument("index annotations not supported for single platform export")


NONE = Annotations()


def is_annotation(name: str) -> bool:
    """Whether an attribute is one."""
    return name.startswith(("annotation.", "annotation-", "annotation["))


def parse_annotations(attributes: Mapping[str, str]) -> Annotations:
    """Those among an exporter's attributes. Raises InvalidArgument."""
    found = [_parsed(name, value) for name, value in attributes.items() if is_annotation(name)]
    if len(found) > _COUNT_LIMIT or sum(len(entry.key) + len(entry.value) for entry in found) > _BYTES_LIMIT:
        raise InvalidArgument(f"more than {_COUNT_LIMIT} annotations, or more than {_BYTES_LIMIT} bytes of them")
    return Annotations(entries=tuple(found))


def _parsed(name: str, value: str) -> Annotation:
    match = _NAME.match(name)
    level = (match["level"] or "manifest") if match else ""
    if match is None or level not in LEVELS:
        raise InvalidArgument(f"invalid annotation {name[:128]!r}: its level may be {', '.join(LEVELS)}")
    asked = match["platform"]
    if asked is not None and level.startswith("index"):
        raise InvalidArgument(f"invalid annotation {name[:128]!r}: an index has no platform")
    platform = None if asked is None else platforms.parse(asked)
    return Annotation(level=level, key=match["key"], value=value, platform=platform)
