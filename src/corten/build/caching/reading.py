"""Reads a cache's documents from wherever they are. Blocking; net threads.

A name may mean a cache (as a manifest, or as the index that older exporters write), or an image that carries the
records of its own steps.
"""

from __future__ import annotations

from corten.build.caching.format import CACHE_CONFIG, CONFIG_LIMIT, CacheContent, decode_config, decode_inline
from corten.engine.images.arrival import choose
from corten.engine.images.sources import ImageSource
from corten.errors import DataLoss, InvalidArgument
from corten.registry.fetch import Buffer, RawManifest
from corten.spec import oci_image
from corten.spec.digest import digest_of
from corten.spec.oci_image import Descriptor, Index
from corten.spec.platform import Platform


def read_cache(source: ImageSource, top: RawManifest, platform: Platform, name: str) -> CacheContent:
    """What the cache has. Raises InvalidArgument, DataLoss, RegistryError."""
    document = oci_image.parse_document(top.raw, top.media_type)
    if isinstance(document, Index):
        config = next((entry for entry in document.manifests if entry.media_type == CACHE_CONFIG), None)
        if config is not None:
            return decode_config(_small(source, config), [entry for entry in document.manifests if entry != config])
    elif document.config.media_type == CACHE_CONFIG:
        return decode_config(_small(source, document.config), document.layers)
    chosen = choose(source, top, platform, given=name, explicit=False)
    return decode_inline(chosen.config_raw, chosen.manifest, chosen.image)


def _small(source: ImageSource, descriptor: Descriptor) -> bytes:
    if descriptor.size > CONFIG_LIMIT:
        raise InvalidArgument(f"the cache's records of {descriptor.size} bytes are larger than {CONFIG_LIMIT}")
    buffer = Buffer()
    source.blob(descriptor, buffer)
    raw = buffer.content()
    if digest_of(raw) != descriptor.digest:
        raise DataLoss(f"verification failed for digest {descriptor.digest}")
    return raw
