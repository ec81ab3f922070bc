"""An index of several platforms as BuildKit makes them: annotations, and an attestation beside each image. Test kit.

    made = make_index({"linux/amd64": [{"etc/who": b"amd64"}], "linux/arm64": [...]})
    archive = made.layout("example.test/team/app:1")          # an OCI layout as one tar

All is kept as bytes by digest, so that a test can say: every digest is still the same.
"""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import zstandard

from corten.testing.made_images import CONFIG, INDEX, LAYER_GZIP, MANIFEST, digest_of, tar_of
from corten.testing.registry import FakeRegistry

_IN_TOTO = "application/vnd.in-toto+json"


@dataclass
class MadeIndex:
    """Every blob by digest, the index's bytes, and the manifests' digests by platform and by what they attest."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    raw: bytes = b""
    manifests: dict[str, str] = field(default_factory=dict)
    attestations: dict[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """The index's digest."""
        return digest_of(self.raw)

    def image_id(self, platform: str) -> str:
        """The digest of a platform's configuration."""
        return str(json.loads(self.blobs[self.manifests[platform]])["config"]["digest"])

    def belonging(self, platform: str) -> set[str]:
        """The digests of one platform's manifest, configuration and layers."""
        document = json.loads(self.blobs[self.manifests[platform]])
        return {
            self.manifests[platform],
            document["config"]["digest"],
            *(layer["digest"] for layer in document["layers"]),
        }

    def put(self, data: bytes) -> str:
        """Keep a blob; its digest."""
        self.blobs[digest_of(data)] = data
        return digest_of(data)

    def layout(self, *names: str) -> bytes:
        """An OCI layout as a tar, the index under each of these names (`host/path:tag`)."""
        entry: dict[str, Any] = {"mediaType": INDEX, "digest": self.digest, "size": len(self.raw)}
        entries = [
            {
                **entry,
                "annotations": {
                    "io.containerd.image.name": name,
                    "org.opencontainers.image.ref.name": name.rpartition(":")[2],
                },
            }
            for name in names
        ]
        files = {f"blobs/sha256/{digest[7:]}": data for digest, data in self.blobs.items()}
        files["oci-layout"] = b'{"imageLayoutVersion":"1.0.0"}'
        files["index.json"] = json.dumps(
            {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries or [entry]}
        ).encode()
        return tar_of(files)

    def serve(self, registry: FakeRegistry, repository: str, tag: str = "latest") -> None:
        """Put all of it into a registry."""
        for data in self.blobs.values():
            registry.add_blob(repository, data)
        for digest in (*self.manifests.values(), *self.attestations.values()):
            registry.add_manifest(repository, "", self.blobs[digest])
        registry.add_manifest(repository, tag, self.raw, INDEX)


def make_index(
    platforms: Mapping[str, Sequence[dict[str, bytes]]],
    *,
    config: dict[str, Any] | None = None,
    compression: str = "gzip",
    tars: Mapping[str, Sequence[bytes]] | None = None,
) -> MadeIndex:
    """An index with an image for each platform (`os/arch[/variant]`), its layers made of files (or of `tars`)."""
    made = MadeIndex()
    entries: list[dict[str, Any]] = []
    for name, layers in platforms.items():
        system, architecture, *variant = name.split("/")
        platform = {"os": system, "architecture": architecture, **({"variant": variant[0]} if variant else {})}
        plain = list((tars or {}).get(name, ())) or [tar_of(files) for files in layers]
        raw = _manifest(made, plain, platform, config or {"Cmd": ["/hello"], "Labels": {"for": name}}, compression)
        made.manifests[name] = made.put(raw)
        entries.append(
            {
                "mediaType": MANIFEST,
                "digest": digest_of(raw),
                "size": len(raw),
                "annotations": {"org.example.platform": name},
                "platform": platform,
            }
        )
    for name, digest in made.manifests.items():
        raw = _attestation(made, digest)
        made.attestations[name] = made.put(raw)
        entries.append(
            {
                "mediaType": MANIFEST,
                "digest": digest_of(raw),
                "size": len(raw),
                "annotations": {
                    "vnd.docker.reference.digest": digest,
                    "vnd.docker.reference.type": "attestation-manifest",
                },
                "platform": {"architecture": "unknown", "os": "unknown"},
            }
        )
    made.raw = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": INDEX,
            "manifests": entries,
            "annotations": {"org.opencontainers.image.title": "an index of the tests", "org.example.kept": "yes"},
        },
        indent=3,  # nobody's own way to write JSON: bytes must be kept, not written again
    ).encode()
    made.put(made.raw)
    return made


def _packed(tar: bytes, compression: str) -> bytes:
    if compression == "zstd":
        return zstandard.ZstdCompressor().compress(tar)
    return gzip.compress(tar, mtime=0) if compression == "gzip" else tar


def _manifest(
    made: MadeIndex, tars: Sequence[bytes], platform: dict[str, str], config: dict[str, Any], compression: str
) -> bytes:
    kind = LAYER_GZIP.removesuffix("+gzip") + (f"+{compression}" if compression else "")
    layers = [_packed(tar, compression) for tar in tars]
    document = {
        **platform,
        "created": "2024-02-03T04:05:06.789Z",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [digest_of(tar) for tar in tars]},
        "history": [{"created_by": f"layer {number}"} for number in range(len(tars))],
        "x.unknown": {"kept": True},
    }
    raw = json.dumps(document, indent=1).encode()
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": made.put(raw), "size": len(raw)},
            "layers": [
                {
                    "mediaType": kind,
                    "digest": made.put(data),
                    "size": len(data),
                    "annotations": {"org.example.layer": str(number)},
                }
                for number, data in enumerate(layers)
            ],
            "annotations": {"org.opencontainers.image.version": "1.2.3"},
        },
        indent=2,
    ).encode()


def _attestation(made: MadeIndex, about: str) -> bytes:
    statement = json.dumps({"_type": "https://in-toto.io/Statement/v0.1", "subject": [{"digest": about}]}).encode()
    config = json.dumps(
        {
            "architecture": "unknown",
            "os": "unknown",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(statement)]},
        }
    ).encode()
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": made.put(config), "size": len(config)},
            "layers": [
                {
                    "mediaType": _IN_TOTO,
                    "digest": made.put(statement),
                    "size": len(statement),
                    "annotations": {"in-toto.io/predicate-type": "https://spdx.dev/Document"},
                }
            ],
        }
    ).encode()


def files_of(archive: bytes) -> dict[str, bytes]:
    """The regular files of a tar, by name."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        found = {}
        for member in tar:
            file = tar.extractfile(member) if member.isfile() else None
            if file is not None:
                found[member.name] = file.read()
        return found
