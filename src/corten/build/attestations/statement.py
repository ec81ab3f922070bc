"""In-toto statements, and the manifest that carries them beside an image. Pure; daemon.

The layout is BuildKit's (docs/attestations/attestation-storage.md): one manifest an image, with an `unknown` platform
and annotations that name the image's manifest; a layer a statement, whose annotation is the predicate's type. Source of
the statement: in-toto attestation framework, Statement v0.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from corten.lib import codec
from corten.spec.digest import digest_of
from corten.spec.oci_image import (
    ANNOTATION_BASE_TYPE,
    ANNOTATION_FOR_DIGEST,
    OCI_CONFIG,
    OCI_MANIFEST,
    Descriptor,
    Manifest,
    PlatformInfo,
)

_TYPE = "https://in-toto.io/Statement/v0.1"
_MEDIA_TYPE = "application/vnd.in-toto+json"
_PREDICATE = "in-toto.io/predicate-type"
ATTESTATION = "attestation-manifest"
UNKNOWN = PlatformInfo(architecture="unknown", os="unknown")


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicate:
    """What is said, without of whom: its type, its document, and what a file of it is called."""

    type: str
    document: dict[str, Any]
    filename: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Of whom it is said: a name, and a sha256 digest in hexadecimal digits."""

    name: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """An attestation manifest: what an index says of it, and all its documents' bytes, the manifest last."""

    descriptor: Descriptor
    blobs: tuple[bytes, ...]


def statement(predicate: Predicate, subjects: Sequence[Subject]) -> bytes:
    """The statement, as JSON."""
    return codec.encode(
        {
            "_type": _TYPE,
            "predicateType": predicate.type,
            "subject": [{"name": subject.name, "digest": {"sha256": subject.sha256}} for subject in subjects],
            "predicate": predicate.document,
        }
    )


def attestation_manifest(predicates: Sequence[Predicate], subjects: Sequence[Subject], manifest: str) -> Carried:
    """The manifest of statements about the image whose manifest has the digest `manifest`."""
    statements = [statement(predicate, subjects) for predicate in predicates]
    layers = [
        Descriptor(
            media_type=_MEDIA_TYPE,
            digest=digest_of(raw),
            size=len(raw),
            annotations={_PREDICATE: predicate.type},
        )
        for predicate, raw in zip(predicates, statements, strict=True)
    ]
    config = codec.encode(
        {
            "architecture": "unknown",
            "os": "unknown",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in layers]},
        }
    )
    described = Descriptor(media_type=OCI_CONFIG, digest=digest_of(config), size=len(config))
    raw = codec.encode(Manifest(schema_version=2, media_type=OCI_MANIFEST, config=described, layers=layers))
    descriptor = Descriptor(
        media_type=OCI_MANIFEST,
        digest=digest_of(raw),
        size=len(raw),
        annotations={ANNOTATION_BASE_TYPE: ATTESTATION, ANNOTATION_FOR_DIGEST: manifest},
        platform=UNKNOWN,
    )
    return Carried(descriptor=descriptor, blobs=(*statements, config, raw))
