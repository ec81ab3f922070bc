"""Images to measure with, in the data folder of a real registry: made once, kept with the other slow things.

`small`: 50,000 files of 1 to 4 KB in 1,500 directories; `debian`: a minimal system in one layer; `eight`: 8 layers of
some 700 files. Each has busybox below or inside, so that it can be run.
"""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import os
import random
import tarfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

from tests.lab import images
from tests.lab.cache import cached
from tests.lab.registry import real_registry

IMAGES = ("small", "debian", "eight")


def _files(count: int, directories: int, seed: int) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    """Directories and files whose content compresses about as programs and texts do."""
    chance = random.Random(seed)
    vocabulary = [chance.randbytes(8).hex().encode() + b" " for _ in range(2000)]
    for number in range(directories):
        info = tarfile.TarInfo(f"data{seed}/{number % 40:02}/{number:04}")
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        yield info, b""
    for number in range(count):
        parent = number % directories
        info = tarfile.TarInfo(f"data{seed}/{parent % 40:02}/{parent:04}/file-{number:05}.txt")
        data = b"".join(chance.choices(vocabulary, k=chance.randrange(60, 240)))
        info.size, info.mode, info.mtime = len(data), 0o644, 1_700_000_000
        yield info, data


def layer(count: int, directories: int, seed: int) -> bytes:
    """An uncompressed tar of so many small files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for info, data in _files(count, directories, seed):
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def _gzip(data: bytes) -> bytes:
    packer = zlib.compressobj(6, wbits=31)
    return packer.compress(data) + packer.flush()


def _layers(name: str) -> list[bytes]:
    busybox = images.busybox_rootfs().read_bytes()
    match name:
        case "small":
            return [busybox, layer(50_000, 1_500, 1)]
        case "debian":
            return [images.debian_rootfs().read_bytes()]
        case _:
            return [busybox, *(layer(700, 40, seed) for seed in range(2, 9))]


def _upload(host: str, repository: str, kind: str, data: bytes) -> dict[str, object]:
    connection = http.client.HTTPConnection(host, timeout=120)
    connection.request("POST", f"/v2/{repository}/blobs/uploads/")
    answer = connection.getresponse()
    answer.read()
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    location = answer.headers["Location"]
    target = location.removeprefix(f"http://{host}") + f"{'&' if '?' in location else '?'}digest={digest}"
    connection.request("PUT", target, data, {"Content-Type": "application/octet-stream"})
    answer = connection.getresponse()
    if answer.status != 201:
        raise RuntimeError(f"upload to {repository}: {answer.status} {answer.read()!r}")
    connection.close()
    return {"mediaType": kind, "size": len(data), "digest": digest}


def _publish(host: str, name: str) -> None:
    plain = _layers(name)
    config = {
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine],
        "os": "linux",
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(1_700_000_000)),
        "config": {"Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], "Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(tar).hexdigest()}" for tar in plain]},
        "history": [{"created": "2023-11-14T22:13:20Z", "created_by": "bench"} for _ in plain],
    }
    docker = "application/vnd.docker"
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{docker}.distribution.manifest.v2+json",
        "config": _upload(host, name, f"{docker}.container.image.v1+json", json.dumps(config).encode()),
        "layers": [_upload(host, name, f"{docker}.image.rootfs.diff.tar.gzip", _gzip(tar)) for tar in plain],
    }
    connection = http.client.HTTPConnection(host, timeout=60)
    connection.request(
        "PUT", f"/v2/{name}/manifests/latest", json.dumps(manifest), {"Content-Type": str(manifest["mediaType"])}
    )
    answer = connection.getresponse()
    if answer.status != 201:
        raise RuntimeError(f"manifest of {name}: {answer.status} {answer.read()!r}")
    connection.close()


def registry_data() -> Path:
    """The folder of a registry (`real_registry`) that holds all IMAGES."""

    def build(path: Path) -> None:
        with real_registry(path) as registry:
            for name in IMAGES:
                _publish(registry.host, name)

    return cached("bench-images", "small debian eight 1", build)
