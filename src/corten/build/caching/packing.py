"""A directory as a compressed layer, stored. Blocking; cpu threads."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable

from isal import isal_zlib

from corten.build.filesystem import Layer
from corten.engine.images.library import ImageLibrary
from corten.lib.tar_writer import TarWriter
from corten.spec.oci_image import OCI_LAYER_GZIP, Descriptor
from corten.store.leases import Lease
from corten.store.pack import Packer, PipedTar

_CHUNK = 1 << 20
_LEVEL = 2
_GZIP_WRAPPER = 31
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def pack(library: ImageLibrary, path: str, lease: Lease, check: Callable[[], None]) -> Layer:
    """Everything below `path` with its own attributes, leased. `check` may raise to end it. Raises OSError."""
    directory = os.open(path, _DIRECTORY)

    def fill(writer: TarWriter) -> None:
        packer = Packer(writer)
        packer.root(directory)
        packer.tree(directory)

    try:
        tar = PipedTar(fill)
        try:
            return _stored(library, tar, lease, check)
        finally:
            tar.close()
    finally:
        os.close(directory)


def _stored(library: ImageLibrary, tar: PipedTar, lease: Lease, check: Callable[[], None]) -> Layer:
    packer = isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, _GZIP_WRAPPER)
    plain, packed, size = hashlib.sha256(), hashlib.sha256(), 0
    with library.scratch() as ingest:
        more = True
        while more:
            check()
            chunk = tar.read(_CHUNK)
            more = bool(chunk)
            plain.update(chunk)
            data = packer.compress(chunk) if chunk else packer.flush()
            packed.update(data)
            size += len(data)
            ingest.write(data)
        digest = f"sha256:{packed.hexdigest()}"
        lease.add(digest)
        ingest.commit(digest, size)
    blob = Descriptor(media_type=OCI_LAYER_GZIP, digest=digest, size=size)
    return Layer(blob=blob, diff_id=f"sha256:{plain.hexdigest()}")
