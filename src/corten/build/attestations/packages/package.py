"""A package that an image holds, whoever installed it. Pure; daemon.

Source of `purl`: the package-url specification and its types deb, apk and pypi.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import quote

_FIELD_LIMIT = 1024


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Package:
    """One; `kind` is the type of its purl, `found_in` the path of the database. Empty fields are not known."""

    kind: str
    name: str
    version: str
    architecture: str = ""
    supplier: str = ""
    license: str = ""
    homepage: str = ""
    found_in: str = ""


def purl(package: Package, distribution: str, release: str) -> str:
    """The package's URL in an image of `distribution` (`ID` of os-release) in this `release`."""
    namespace = f"{quote(distribution)}/" if package.kind != "pypi" and distribution else ""
    asked = []
    if package.architecture:
        asked.append(f"arch={quote(package.architecture)}")
    if package.kind != "pypi" and distribution:
        asked.append(f"distro={quote('-'.join(part for part in (distribution, release) if part))}")
    name = package.name.lower().replace("_", "-") if package.kind == "pypi" else package.name
    text = f"pkg:{package.kind}/{namespace}{quote(name, safe='+')}@{quote(package.version, safe=':+')}"
    return text + (f"?{'&'.join(asked)}" if asked else "")


def fields(lines: Iterable[str]) -> Iterator[dict[str, str]]:
    """Stanzas of `Name: value` with empty lines between them; lines that go on are left out (deb822, RFC 822)."""
    found: dict[str, str] = {}
    for line in lines:
        if not line.strip():
            if found:
                yield found
            found = {}
        elif not line[0].isspace():
            name, colon, value = line.partition(":")
            if colon:
                found.setdefault(name.strip().lower()[:_FIELD_LIMIT], value.strip()[:_FIELD_LIMIT])
    if found:
        yield found
