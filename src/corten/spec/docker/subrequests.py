"""What a Dockerfile offers, in the forms of BuildKit's `outline` and `targets` subrequests. Pure data.

Source: BuildKit's frontend subrequests `frontend.outline` and `frontend.targets` (result.json), both of version 1.0.0.
"""

from __future__ import annotations

import msgspec

from corten.spec.docker.lint import Range

VERSION = "1.0.0"


class Place(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Lines of the Dockerfile."""

    ranges: list[Range] = []


class OutlineArg(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A build argument: what it is without being given, and what the comment above it says."""

    name: str
    description: str = ""
    value: str = ""
    location: Place | None = None


class OutlineMount(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A secret or an ssh agent that steps ask for."""

    name: str
    required: bool = False
    location: Place | None = None


class OutlineCache(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A cache mount."""

    id: str = msgspec.field(name="ID")
    location: Place | None = None


class Outline(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The parameters of one target; `sources` are the files that locations are in."""

    name: str = ""
    description: str = ""
    args: tuple[OutlineArg, ...] = ()
    secrets: tuple[OutlineMount, ...] = ()
    ssh: tuple[OutlineMount, ...] = ()
    cache: tuple[OutlineCache, ...] = ()
    sources: tuple[bytes, ...] = ()


class Target(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A stage; `base` and `platform` are as written."""

    name: str = ""
    default: bool = False
    description: str = ""
    base: str = ""
    platform: str = ""
    location: Place | None = None


class Targets(msgspec.Struct, frozen=True, kw_only=True):
    """All stages, in the order of the file."""

    targets: tuple[Target, ...]
    sources: tuple[bytes, ...]
