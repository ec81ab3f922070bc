"""Alpine's `/lib/apk/db/installed`: lines of one letter, a colon and a value. Pure. Source: apk-package(5)."""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO
from itertools import chain

from corten.build.attestations.packages.package import Package

_FIELD_LIMIT = 1024


def parse_apk(text: str) -> Iterator[Package]:
    """The packages, as far as the text can be understood."""
    found: dict[str, str] = {}
    for line in chain(StringIO(text), ("\n",)):
        letter, colon, value = line.partition(":")
        if not line.strip():
            if found.get("P") and found.get("V"):
                yield Package(
                    kind="apk",
                    name=found["P"],
                    version=found["V"],
                    architecture=found.get("A", ""),
                    supplier=found.get("m", ""),
                    license=found.get("L", ""),
                    homepage=found.get("U", ""),
                )
            found = {}
        elif colon and len(letter) == 1:
            found.setdefault(letter, value.strip()[:_FIELD_LIMIT])
