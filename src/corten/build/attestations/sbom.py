"""A list of an image's packages as an SPDX 2.3 document. Pure; daemon.

The same packages give the same document but for its time. Sources: SPDX specification 2.3; the predicate's type and the
file's name are those that BuildKit's generators use.
"""

from __future__ import annotations

import uuid
from typing import Any

from corten.build.attestations.packages.package import Package, purl
from corten.build.attestations.scan import Found
from corten.build.attestations.statement import Predicate

SPDX = "https://spdx.dev/Document"
_ROOT = "SPDXRef-DocumentRoot-Image"
_UNSAID = "NOASSERTION"


def sbom(found: Found, *, name: str, digest: str, created: str, version: str) -> Predicate:
    """The document about the file system whose topmost chainID is `digest`; `created` is RFC 3339 in whole seconds."""
    packages = [_package(number, package, found) for number, package in enumerate(found.packages)]
    space = uuid.uuid5(uuid.NAMESPACE_URL, "|".join([digest, *(entry["SPDXID"] + entry["name"] for entry in packages)]))
    root = {
        "name": name,
        "SPDXID": _ROOT,
        "versionInfo": digest,
        "downloadLocation": _UNSAID,
        "filesAnalyzed": False,
        "licenseConcluded": _UNSAID,
        "licenseDeclared": _UNSAID,
        "copyrightText": _UNSAID,
        "primaryPackagePurpose": "CONTAINER",
    }
    document: dict[str, Any] = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": f"urn:uuid:{space}",
        "creationInfo": {"created": created, "creators": [f"Tool: corten-{version}"]},
        "packages": [root, *packages],
        "relationships": [
            _relation("SPDXRef-DOCUMENT", "DESCRIBES", _ROOT),
            *(_relation(_ROOT, "CONTAINS", entry["SPDXID"]) for entry in packages),
        ],
    }
    if found.unread:
        document["comment"] = f"Not read: {', '.join(found.unread)}"
    return Predicate(type=SPDX, document=document, filename="sbom.spdx.json")


def _package(number: int, package: Package, found: Found) -> dict[str, Any]:
    plain = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in package.name)[:128]
    entry = {
        "name": package.name,
        "SPDXID": f"SPDXRef-Package-{package.kind}-{plain}-{number}",
        "versionInfo": package.version,
        "supplier": f"Organization: {package.supplier}" if package.supplier else _UNSAID,
        "downloadLocation": _UNSAID,
        "filesAnalyzed": False,
        "sourceInfo": f"acquired package info from {package.found_in}",
        "licenseConcluded": _UNSAID,
        "licenseDeclared": _UNSAID,  # what databases say is no SPDX expression
        "copyrightText": _UNSAID,
        "externalRefs": [
            {
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": purl(package, found.distribution, found.release),
            }
        ],
    }
    if package.homepage.startswith(("http://", "https://")):
        entry["homepage"] = package.homepage
    if package.license:
        entry["licenseComments"] = package.license
    return entry


def _relation(one: str, kind: str, other: str) -> dict[str, str]:
    return {"spdxElementId": one, "relationshipType": kind, "relatedSpdxElement": other}
