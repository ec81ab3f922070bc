"""The layer of a `COPY --link` that an imported cache has: one, or it is not believed."""

from __future__ import annotations

from typing import Any

import pytest

from corten.build.filesystem import FileSystem, Layer
from corten.build.graph import Vertex
from corten.build.lazy_layers import ImportLost, LazyLayers
from corten.build.operations import LinkedCopy, Merge, Scratch, Source
from corten.build.ops.worker import Operations
from corten.spec.oci_image import Descriptor


class Copier:
    """Tells what it is asked to merge."""

    async def merge(self, _vertex: Vertex, _below: FileSystem, above: FileSystem) -> FileSystem:
        return above


def layers(count: int) -> FileSystem:
    digests = [f"sha256:{number:064d}" for number in range(count)]
    blobs = [Descriptor(media_type="x", digest=digest, size=1) for digest in digests]
    return FileSystem(layers=tuple(Layer(blob=blob, diff_id=blob.digest) for blob in blobs))


async def merged(above: FileSystem) -> FileSystem:
    copy = Vertex(LinkedCopy(sources=(Source(path="a"),), destination="/"), (Vertex(Scratch()),))
    merge = Vertex(Merge(), (Vertex(Scratch()), copy), name="COPY --link a /")
    never: Any = None
    copier: Any = Copier()
    lazy = LazyLayers(bringer=never, is_here=lambda _node: True, say=lambda _message: None)
    operations = Operations(
        runner=never, copier=copier, downloader=never, checkouts=never, bases={}, lazy=lazy, target=merge
    )
    return await operations.execute(merge, [FileSystem(), above])


async def test_one_layer_is_merged() -> None:
    assert await merged(layers(1)) == layers(1)


@pytest.mark.parametrize("count", [0, 2])
async def test_the_build_goes_on_without_a_cache_that_has_something_else(count: int) -> None:
    with pytest.raises(ImportLost, match=f"{count} layers and not one"):
        await merged(layers(count))
