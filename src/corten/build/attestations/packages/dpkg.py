"""Debian's `/var/lib/dpkg/status`, and `status.d/*` of images without dpkg. Pure. Source: dpkg(1), deb822(5)."""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO

from corten.build.attestations.packages.package import Package, fields


def parse_dpkg(text: str) -> Iterator[Package]:
    """The packages that are installed, as far as the text can be understood."""
    for found in fields(StringIO(text)):
        status = found.get("status", "install ok installed").split()
        name, version = found.get("package"), found.get("version")
        if name and version and status[-1:] == ["installed"]:
            yield Package(
                kind="deb",
                name=name,
                version=version,
                architecture=found.get("architecture", ""),
                supplier=found.get("maintainer", ""),
                homepage=found.get("homepage", ""),
            )
