"""Whether blobs that are here hold the layers that are here, as an imported cache or a layout says. Blocking; daemon.

Nobody vouches for a cache, nor for a client's directory. What it names is verified when it is fetched and unpacked; but
of a blob and an unpacked layer that both came by other ways nothing is fetched. Were such a pair believed, an image
could be pushed whose blob is another layer than its configuration says. So the blob is read once, and what was found
out is remembered.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from contextlib import closing
from threading import Lock
from typing import BinaryIO, Protocol

from corten.build.caching.format import CacheContent
from corten.build.filesystem import FileSystem, Layer
from corten.engine.images.decompress import TarStream
from corten.errors import DataLoss

_CHUNK = 1 << 20
_REMEMBERED = 8192


class Held(Protocol):
    """What is in the store (ImageLibrary)."""

    def has_blob(self, digest: str) -> bool:
        """Whether a blob is here."""

    def has_layer(self, chain_id: str) -> bool:
        """Whether a layer is unpacked here."""

    def open_blob(self, digest: str) -> BinaryIO:
        """A blob's bytes, the caller's to close. Raises NotFound, OSError."""


class LayerPairs:
    """One a daemon; thread-safe."""

    def __init__(self, held: Held) -> None:
        self._held = held
        self._lock = Lock()
        self._found: OrderedDict[tuple[str, str], bool] = OrderedDict()

    def believable(self, content: CacheContent, check: Callable[[], None]) -> CacheContent:
        """Without the records of layers that are here and are not what the cache says. `check` is called now and then,
        and may raise. Raises NotFound for a blob that has just been removed, OSError."""
        steps = (step for step in content.steps if self.are_true(step.filesystem, check))
        return CacheContent(steps=tuple(steps), mounts=content.mounts)

    def are_true(self, filesystem: FileSystem, check: Callable[[], None]) -> bool:
        """Whether the layers that are here are what the file system says. As `believable`."""
        pairs = zip(filesystem.layers, filesystem.chain, strict=True)
        return all(self._holds(layer, chain_id, check) for layer, chain_id in pairs)

    def _holds(self, layer: Layer, chain_id: str, check: Callable[[], None]) -> bool:
        """Whether a layer's blob holds it, or will have to show that it does when it comes."""
        pair = layer.blob.digest, layer.diff_id
        if pair[0] == pair[1] or not (self._held.has_blob(pair[0]) and self._held.has_layer(chain_id)):
            return True
        with self._lock:
            found = self._found.get(pair)
        if found is None:
            found = self._read(*pair, check)
            with self._lock:
                self._found[pair] = found
                if len(self._found) > _REMEMBERED:
                    self._found.popitem(last=False)
        return found

    def _read(self, digest: str, diff_id: str, check: Callable[[], None]) -> bool:
        with closing(self._held.open_blob(digest)) as file:
            try:
                stream = TarStream(file, diff_id=diff_id)
                while stream.read(_CHUNK):
                    check()
            except DataLoss:
                return False
        return True
