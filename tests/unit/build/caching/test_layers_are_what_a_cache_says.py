"""A cache that says of a blob that it is a layer, where both are here: the blob is read, once."""

from __future__ import annotations

import gzip
import hashlib
import io

import pytest

from corten.build.caching.format import CacheContent, Step
from corten.build.caching.pairs import LayerPairs
from corten.build.filesystem import FileSystem, Layer
from corten.errors import Cancelled
from corten.spec.oci_image import OCI_LAYER, Descriptor


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


PLAIN, OTHER = b"a tar" * 1000, b"another tar"
PACKED = gzip.compress(PLAIN)


class Store:
    """Blobs, and the diffIDs of lowest layers."""

    def __init__(self, *blobs: bytes, layers: tuple[str, ...]) -> None:
        self.blobs = {digest_of(blob): blob for blob in blobs}
        self.layers = layers
        self.opened: list[str] = []

    def has_blob(self, digest: str) -> bool:
        return digest in self.blobs

    def has_layer(self, chain_id: str) -> bool:
        return chain_id in self.layers

    def open_blob(self, digest: str) -> io.BytesIO:
        self.opened.append(digest)
        return io.BytesIO(self.blobs[digest])


def content(blob: bytes, diff_id: str) -> CacheContent:
    described = Descriptor(media_type=OCI_LAYER + "+gzip", digest=digest_of(blob), size=len(blob))
    layer = Layer(blob=described, diff_id=diff_id)
    return CacheContent(steps=(Step(key="1" * 64, filesystem=FileSystem(layers=(layer,))),))


def nothing() -> None:
    """Nobody has cancelled."""


def test_a_blob_that_is_here_is_read_before_it_is_believed_and_once() -> None:
    store = Store(PACKED, layers=(digest_of(PLAIN), digest_of(OTHER)))
    pairs = LayerPairs(store)
    for _again in range(3):
        assert len(pairs.believable(content(PACKED, digest_of(PLAIN)), nothing).steps) == 1
        assert len(pairs.believable(content(PACKED, digest_of(OTHER)), nothing).steps) == 0
    assert len(store.opened) == 2


def test_what_will_be_fetched_or_unpacked_is_verified_then() -> None:
    for store in (Store(layers=(digest_of(OTHER),)), Store(PACKED, layers=())):
        assert len(LayerPairs(store).believable(content(PACKED, digest_of(OTHER)), nothing).steps) == 1
        assert store.opened == []


def test_a_damaged_blob_is_no_layer() -> None:
    store = Store(PACKED[:-20], layers=(digest_of(PLAIN),))
    assert len(LayerPairs(store).believable(content(PACKED[:-20], digest_of(PLAIN)), nothing).steps) == 0


def test_a_cancelled_build_ends_the_reading_and_nothing_is_remembered_of_it() -> None:
    def cancelled() -> None:
        raise Cancelled("context canceled")

    store = Store(PACKED, layers=(digest_of(PLAIN),))
    pairs = LayerPairs(store)
    with pytest.raises(Cancelled):
        pairs.believable(content(PACKED, digest_of(PLAIN)), cancelled)
    assert len(pairs.believable(content(PACKED, digest_of(PLAIN)), nothing).steps) == 1
