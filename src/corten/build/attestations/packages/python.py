"""Python's `*.dist-info/METADATA` and `*.egg-info/PKG-INFO`. Pure. Source: core metadata specifications (PEP 643)."""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO

from corten.build.attestations.packages.package import Package, fields


def parse_metadata(text: str) -> Iterator[Package]:
    """The package that a file is of; none when it is none."""
    found = next(fields(StringIO(text)), {})
    if found.get("name") and found.get("version"):
        author = found.get("author") or found.get("author-email") or ""
        yield Package(
            kind="pypi",
            name=found["name"],
            version=found["version"],
            supplier=author,
            license=found.get("license-expression") or found.get("license") or "",
            homepage=found.get("home-page", ""),
        )
