"""Platforms `os/architecture[/variant]`: parsing, normal form, and which images a host can run. Pure; daemon.

Source: OCI image-spec image-index.md ("platform") and the normal forms that containerd/platforms documents.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from corten.errors import InvalidArgument

_COMPONENT = "^[A-Za-z0-9_.-]+$"  # as errors show it
_PART = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")
_ARCHITECTURES = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "aarch64": ("arm64", ""),
    "i386": ("386", ""),
    "i686": ("386", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
}
_KNOWN = {"386", "amd64", "arm", "arm64", "loong64", "mips64le", "ppc64le", "riscv64", "s390x"} | set(_ARCHITECTURES)


@dataclass(frozen=True, slots=True)
class Platform:
    """What an image is built for; empty parts are not stated."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


def normalize(platform: Platform) -> Platform:
    """The one spelling of `platform`: aarch64 is arm64, arm64/v8 is arm64, arm without a variant is arm/v7."""
    system = platform.os.lower()
    system = "darwin" if system == "macos" else system
    architecture, variant = platform.architecture.lower(), platform.variant.lower()
    if architecture in _ARCHITECTURES:
        architecture, implied = _ARCHITECTURES[architecture]
        variant = variant or implied
    if (architecture, variant) in {("arm64", "8"), ("arm64", "v8"), ("amd64", "v1")}:
        variant = ""
    if architecture == "arm":
        variant = variant or "v7"
        variant = variant if variant.startswith("v") else f"v{variant}"
    return Platform(system, architecture, variant)


def parse(text: str, *, host: Platform | None = None) -> Platform:
    """`linux`, `arm64` or `os/arch[/variant]`, normalised; missing parts are the host's. Raises InvalidArgument."""
    host = host or host_platform()
    parts = text.split("/")
    if len(parts) > 3:
        raise InvalidArgument(f'"{text[:128]}": cannot parse platform specifier: invalid argument')
    for part in parts:
        if not _PART.match(part):
            raise InvalidArgument(
                f'"{part[:64]}" is an invalid component of "{text[:128]}": platform specifier component must match '
                f'"{_COMPONENT}": invalid argument'
            )
    if len(parts) == 1:
        if parts[0].lower() in _KNOWN:
            return normalize(Platform(host.os, parts[0]))
        if parts[0].lower() in {"linux", "windows", "darwin", "freebsd", "macos"}:
            return normalize(replace(host, os=parts[0]))
        raise InvalidArgument(f'"{text[:128]}": unknown operating system or architecture: invalid argument')
    return normalize(Platform(parts[0], parts[1], parts[2] if len(parts) == 3 else ""))


def host_platform() -> Platform:
    """The machine's own platform."""
    return normalize(Platform("linux", os.uname().machine))


def candidates(wanted: Platform) -> list[Platform]:
    """What runs where `wanted` was asked for, best first: lower variants of arm and amd64, and their 32-bit forms."""
    wanted = normalize(wanted)
    if wanted.architecture == "amd64":
        level = int(wanted.variant[1:]) if re.fullmatch(r"v[2-9]", wanted.variant) else 1
        return [replace(wanted, variant=f"v{n}" if n > 1 else "") for n in range(level, 0, -1)] + [
            Platform(wanted.os, "386")
        ]
    if wanted.architecture == "arm64":
        level = int(wanted.variant[1:]) if re.fullmatch(r"v(9)", wanted.variant) else 8
        own = [wanted] if level == 9 else []
        return [*own, replace(wanted, variant=""), *(Platform(wanted.os, "arm", f"v{n}") for n in (8, 7, 6, 5))]
    if wanted.architecture == "arm" and re.fullmatch(r"v[5-8]", wanted.variant):
        return [replace(wanted, variant=f"v{n}") for n in range(int(wanted.variant[1:]), 4, -1)]
    return [wanted]


def choose(available: Sequence[Platform | None], wanted: Platform) -> int | None:
    """The index of the entry of `available` that fits `wanted` best; None when none does."""
    normal = [None if entry is None else normalize(entry) for entry in available]
    for candidate in candidates(wanted):
        if candidate in normal:
            return normal.index(candidate)
    return None


def matches(actual: Platform, wanted: Platform) -> bool:
    """Whether an image for `actual` fits what was asked for."""
    return normalize(actual) in candidates(wanted)
