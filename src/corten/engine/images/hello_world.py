"""The `hello-world` image that Corten carries, for a first run on a machine that cannot reach Docker Hub. Pure; daemon.

Made from nothing but this file: the same bytes on every machine, so its digests are constants. It stands in for
docker.io/library/hello-world:latest only, and only when no registry answers.
"""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import dataclass
from functools import lru_cache

from corten.engine.images.elf import ARCHITECTURES, print_and_exit
from corten.registry.fetch import RawManifest
from corten.spec.digest import digest_of
from corten.spec.oci_image import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST
from corten.spec.reference import DEFAULT_TAG, Reference

_REPOSITORY = "docker.io/library/hello-world"
_CREATED = "2026-01-01T00:00:00Z"
_CREATED_S = 1767225600
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_TEXT = """
Hello from Corten!
If you can read this, your engine is installed and works.

What just happened, step by step:
 1. The command line asked the Corten daemon, over its socket, for a container.
 2. The daemon found no image "hello-world" here and obtained one ({architecture}).
 3. It laid the image's files under a fresh, empty layer, made namespaces and a
    control group, and started the program /hello inside of them.
 4. That program wrote this text; the daemon passed it on to your terminal.
 5. The program ended, and the container with it.

For something with more to explore, start a shell in a small Linux system:
 $ corten run -it --rm busybox sh

The docker command and its friends work against this engine as well:
 $ corten --help

"""


@dataclass(frozen=True, slots=True)
class BuiltinImage:
    """An image held in memory: its index, and every blob by digest."""

    index: RawManifest
    blobs: dict[str, bytes]


def stands_in_for(reference: Reference) -> bool:
    """Whether the built-in image may be used for `reference`."""
    return reference.name == _REPOSITORY and reference.digest is None and reference.tag in {"", DEFAULT_TAG}


@lru_cache(maxsize=1)
def hello_world() -> BuiltinImage:
    """The image, for all architectures."""
    blobs: dict[str, bytes] = {}
    manifests = []
    for architecture in ARCHITECTURES:
        manifest = _manifest(architecture, blobs)
        platform = {"architecture": architecture, "os": "linux"}
        manifests.append({**_add(blobs, OCI_MANIFEST, manifest), "platform": platform})
    raw = _encode({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests})
    descriptor = _add(blobs, OCI_INDEX, raw)
    return BuiltinImage(RawManifest(OCI_INDEX, digest_of(raw), blobs[str(descriptor["digest"])]), blobs)


def _manifest(architecture: str, blobs: dict[str, bytes]) -> bytes:
    layer = _layer(print_and_exit(architecture, _TEXT.format(architecture=architecture).encode()))
    config = _encode(
        {
            "architecture": architecture,
            "os": "linux",
            "created": _CREATED,
            "config": {"Cmd": ["/hello"], "Env": [_PATH], "WorkingDir": "/"},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(layer)]},
            "history": [
                {"created": _CREATED, "created_by": "COPY hello / # corten"},
                {"created": _CREATED, "created_by": 'CMD ["/hello"]', "empty_layer": True},
            ],
        }
    )
    return _encode(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": _add(blobs, OCI_CONFIG, config),
            "layers": [_add(blobs, OCI_LAYER, layer)],
        }
    )


def _layer(program: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        entry = tarfile.TarInfo("hello")
        entry.size, entry.mode, entry.mtime = len(program), 0o755, _CREATED_S
        tar.addfile(entry, io.BytesIO(program))
    return buffer.getvalue()


def _add(blobs: dict[str, bytes], media_type: str, raw: bytes) -> dict[str, object]:
    digest = digest_of(raw)
    blobs[digest] = raw
    return {"mediaType": media_type, "digest": digest, "size": len(raw)}


def _encode(document: dict[str, object]) -> bytes:
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()
