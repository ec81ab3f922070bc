"""What a build was made of, as provenance names it: a URI and the digest of what it gave. Pure; daemon.

Sources: SLSA provenance ("resolvedDependencies", "materials"), and the package-url specification (`pkg:docker`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit, urlunsplit

from corten.spec.reference import Reference

_GIT_HASHES = {40: "sha1", 64: "sha256"}  # by the digits of a commit's id


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """One; `digest` is by algorithm (`sha256`, `sha1` of git), in hexadecimal digits, empty when nobody knows it."""

    uri: str
    digest: Mapping[str, str] = field(default_factory=dict)


def image_material(name: Reference, platform: str, digest: str) -> Material:
    """An image of a registry; `digest` is its manifest's or index', `sha256:` included."""
    algorithm, _, digits = digest.partition(":")
    return Material(uri=image_purl(name, platform), digest={algorithm: digits} if digits else {})


def git_material(uri: str, commit: str) -> Material:
    """A repository; `commit` counts when it is whole."""
    algorithm = _GIT_HASHES.get(len(commit))
    return Material(uri=uri, digest={algorithm: commit} if algorithm else {})


def image_purl(name: Reference, platform: str) -> str:
    """An image as a package URL, as BuildKit writes it."""
    version = name.tag or name.digest or "latest"
    qualifiers = {"digest": name.digest if name.tag and name.digest else "", "platform": platform}
    asked = "&".join(f"{key}={quote(value, safe=':')}" for key, value in qualifiers.items() if value)
    path = quote(name.familiar_name, safe="/:")
    return f"pkg:docker/{path}@{quote(version, safe=':')}" + (f"?{asked}" if asked else "")


def without_password(url: str) -> str:
    """A URL without its user information, which may be a secret."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if "@" in parts.netloc else url
