"""Images made for tests: tars, digests, documents; the same bytes each time. Test kit."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"


def digest_of(data: bytes) -> str:
    """The sha256 digest of `data`."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def tar_of(files: dict[str, bytes]) -> bytes:
    """A tar with these files, the same bytes each time."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            entry.mode = 0o755
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


@dataclass
class MadeImage:
    """An image's documents and layers."""

    manifest: bytes
    digest: str
    config: bytes
    layers: list[bytes]
    diff_ids: list[str]

    @property
    def image_id(self) -> str:
        """The digest of the configuration."""
        return digest_of(self.config)


def make_image(
    files: Iterable[dict[str, bytes]], *, config: dict[str, Any] | None = None, architecture: str = "amd64"
) -> MadeImage:
    """An image with a gzip layer for each of `files`."""
    tars = [tar_of(f) for f in files]
    layers = [gzip.compress(tar, mtime=0) for tar in tars]
    diff_ids = [digest_of(tar) for tar in tars]
    document = {
        "architecture": architecture,
        "os": "linux",
        "config": config or {"Cmd": ["/hello"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [{"created_by": f"layer {number}"} for number in range(len(layers))],
    }
    raw_config = json.dumps(document).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "digest": digest_of(raw_config), "size": len(raw_config)},
        "layers": [{"mediaType": LAYER_GZIP, "digest": digest_of(data), "size": len(data)} for data in layers],
    }
    raw = json.dumps(manifest).encode()
    return MadeImage(raw, digest_of(raw), raw_config, layers, diff_ids)
