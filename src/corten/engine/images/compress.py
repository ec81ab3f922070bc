"""Compressing the layers of images made here, before their first push. Blocking; disk threads.

Commits and imports keep their layers as plain tars. Registries, and the networks before them, want gzip; so the image
gets a manifest with compressed layers, and keeps that one. Images from elsewhere are not touched: their digests count.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from isal import isal_zlib

from corten.engine.images.catalog import ImageEntry
from corten.engine.images.library import ImageLibrary
from corten.lib import codec
from corten.spec.digest import Verifier, digest_of
from corten.spec.oci_image import OCI_CONFIG, OCI_LAYER, OCI_LAYER_GZIP, OCI_MANIFEST, Descriptor, Manifest
from corten.store.leases import Lease

_CHUNK = 1 << 20
_LEVEL = 2
_GZIP_WRAPPER = 31
_SMALLEST = 64 << 10


def needs_compression(entry: ImageEntry) -> bool:
    """Whether the image's manifest was written here and nobody knows it yet, with plain layers worth the work."""
    plain = any(layer.media_type == OCI_LAYER and layer.size >= _SMALLEST for layer in entry.layers)
    return plain and entry.made_here and not entry.repo_digests()


def compress_layers(
    library: ImageLibrary, entry: ImageEntry, lease: Lease, step: Callable[[str, int, int], None]
) -> tuple[Descriptor, Manifest]:
    """Store compressed layers and a manifest that names them. `step(diffID, done, total)` may raise to end it.

    What is stored is added to `lease`, since no image needs it yet.
    """
    layers = [
        _compressed(library, layer, lease, lambda done, layer=layer: step(layer.digest, done, layer.size))  # type: ignore[misc]
        if layer.media_type == OCI_LAYER and layer.size >= _SMALLEST
        else layer
        for layer in entry.layers
    ]
    config = Descriptor(media_type=OCI_CONFIG, digest=entry.id, size=entry.config_size)
    manifest = Manifest(schema_version=2, media_type=OCI_MANIFEST, config=config, layers=layers)
    raw = codec.encode(manifest)
    lease.add(digest_of(raw))
    library.put_blob(raw)
    return Descriptor(media_type=OCI_MANIFEST, digest=digest_of(raw), size=len(raw)), manifest


def _compressed(library: ImageLibrary, layer: Descriptor, lease: Lease, step: Callable[[int], None]) -> Descriptor:
    packer = isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, _GZIP_WRAPPER)
    source = Verifier(layer.digest, layer.size)
    hashed, size = hashlib.sha256(), 0
    with library.scratch() as ingest, library.open_blob(layer.digest) as file:
        while chunk := file.read(_CHUNK):
            source.update(chunk)
            data = packer.compress(chunk)
            hashed.update(data)
            size += len(data)
            ingest.write(data)
            step(source.size)
        source.finish()
        data = packer.flush()
        hashed.update(data)
        size += len(data)
        ingest.write(data)
        digest = f"sha256:{hashed.hexdigest()}"
        lease.add(digest)
        ingest.commit(digest, size)
    return Descriptor(media_type=OCI_LAYER_GZIP, digest=digest, size=size)
