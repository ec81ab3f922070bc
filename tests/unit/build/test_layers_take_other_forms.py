"""Layers with older times, compressed and uncompressed: the same bytes for the same wish, and others' layers untouched."""

from __future__ import annotations

import asyncio
import errno
import gzip
import io
import os
import tarfile
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
import zstandard

from corten.build.exporters.layers import LayerForms
from corten.build.exporters.request import Compression
from corten.build.filesystem import Layer
from corten.engine.images.library import ImageLibrary
from corten.engine.images.progress import Progress
from corten.lib.tar import Entry
from corten.lib.tar_writer import TarWriter
from corten.spec.oci_image import OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD, Descriptor
from corten.store.content import ContentStore
from corten.store.db import Database
from corten.store.leases import Lease
from corten.testing.stores import TarLayers

EPOCH = 1_000
T = TypeVar("T")


@pytest.fixture
def library(tmp_path: Path) -> Iterator[ImageLibrary]:
    database = Database(tmp_path / "meta.db")
    yield ImageLibrary(blobs=ContentStore(tmp_path), layers=TarLayers(), records=database.table("images"))
    database.close()


def tar(*times: int, **fields: object) -> bytes:
    file = io.BytesIO()
    writer = TarWriter(file.write)
    for number, seconds in enumerate(times):
        found = Entry(b"f%d" % number, "file", 0o4755, 5, 6, 3, seconds * 10**9 + 7, xattrs={b"user.x": b"\0y"})
        writer.add(found, [b"abc"])
    writer.add(Entry(b"link", "hardlink", 0o644, 0, 0, 0, 5 * 10**9, link=b"f0"))
    writer.finish()
    return file.getvalue()


def made(library: ImageLibrary, data: bytes, *, created: str = "2024-01-01T00:00:00Z", gzipped: bool = False) -> Layer:
    diff_id = library.put_blob(data)
    stored = gzip.compress(data, mtime=0) if gzipped else data
    blob = Descriptor(
        media_type=OCI_LAYER_GZIP if gzipped else OCI_LAYER, digest=library.put_blob(stored), size=len(stored)
    )
    return Layer(blob=blob, diff_id=diff_id, created=created)


def run(library: ImageLibrary, work: Callable[[LayerForms, Lease, Progress], Awaitable[T]]) -> tuple[T, list[str]]:
    """What `work` gives, and what it has leased."""

    async def whole() -> tuple[T, list[str]]:
        async with library.lease([]) as lease:
            result = await work(LayerForms(library), lease, Progress())
            return result, list(lease.keys)

    return asyncio.run(whole())


def older(library: ImageLibrary, *layers: Layer) -> tuple[Layer, ...]:
    found, leased = run(library, lambda forms, lease, progress: forms.rewritten(layers, EPOCH, lease, progress))
    new = {layer.blob.digest for layer in found} - {layer.blob.digest for layer in layers}
    assert new <= set(leased)
    return found


def test_no_time_is_later_and_nothing_else_changes(library: ImageLibrary) -> None:
    (found,) = older(library, made(library, tar(5, 2_000, EPOCH)))
    assert library.read_blob(found.blob.digest, 1 << 20) == exact(5, EPOCH, EPOCH)
    assert found.diff_id == found.blob.digest


def exact(*times: int) -> bytes:
    """As `tar`, but that the epoch has no nanoseconds."""
    file = io.BytesIO()
    writer = TarWriter(file.write)
    for number, seconds in enumerate(times):
        nanoseconds = seconds * 10**9 + (7 if seconds < EPOCH else 0)
        found = Entry(b"f%d" % number, "file", 0o4755, 5, 6, 3, nanoseconds, xattrs={b"user.x": b"\0y"})
        writer.add(found, [b"abc"])
    writer.add(Entry(b"link", "hardlink", 0o644, 0, 0, 0, 5 * 10**9, link=b"f0"))
    writer.finish()
    return file.getvalue()


def test_layers_that_are_old_enough_or_others_stay_the_same(library: ImageLibrary) -> None:
    layers = (made(library, tar(5, 900)), made(library, tar(2_000), created=""))
    assert older(library, *layers) == layers


def test_the_same_files_give_the_same_layer_however_late_they_came(library: ImageLibrary) -> None:
    one, other, third = older(library, *(made(library, tar(*times)) for times in ((2_000,), (3_000,), (EPOCH + 1,))))
    assert one.diff_id == other.diff_id == third.diff_id


def test_a_full_disk_leaves_neither_thread_nor_descriptor(
    library: ImageLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = made(library, tar(*[2_000] * 5_000))

    def full() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    older(library, made(library, tar(5)))  # what is opened once is open from here on
    monkeypatch.setattr(library, "scratch", full)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="No space left"):
        older(library, layer)
    assert "corten-layer" not in [thread.name for thread in threading.enumerate()]
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_sparse_layer_of_another_tool_is_written_out_in_full(library: ImageLibrary, tmp_path: Path) -> None:
    sparse = tmp_path / "sparse"
    with sparse.open("wb") as file:
        file.seek(3 << 20)
        file.write(b"end")
        file.truncate(4 << 20)
    os.utime(sparse, (2_000, 2_000))
    status = os.system(f"tar -C {tmp_path} --sparse -cf {tmp_path}/sparse.tar sparse")
    assert status == 0
    (found,) = older(library, made(library, (tmp_path / "sparse.tar").read_bytes()))
    with tarfile.open(fileobj=library.open_blob(found.blob.digest)) as archive:
        assert archive.getmember("sparse").mtime == EPOCH
        assert archive.extractfile("sparse").read() == sparse.read_bytes()  # type: ignore[union-attr]


def compressed(library: ImageLibrary, wish: Compression, *layers: Layer) -> list[Descriptor]:
    found, leased = run(library, lambda forms, lease, progress: forms.compressed(layers, wish, lease, progress))
    assert {blob.digest for blob in found} - {layer.blob.digest for layer in layers} <= set(leased)
    return found


def plain(library: ImageLibrary, blob: Descriptor) -> bytes:
    data = library.read_blob(blob.digest, 1 << 20)
    assert len(data) == blob.size
    if blob.media_type == OCI_LAYER_GZIP:
        return gzip.decompress(data)
    if blob.media_type == OCI_LAYER_ZSTD:
        return zstandard.ZstdDecompressor().decompressobj().decompress(data)
    assert blob.media_type == OCI_LAYER
    return data


@pytest.mark.parametrize("level", [None, 1, 9])
@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_layers_are_compressed_and_always_in_the_same_way(library: ImageLibrary, kind: str, level: int | None) -> None:
    layer = made(library, tar(1, 2, 3))
    wish = Compression(kind=kind, level=level)
    (one,), (other,) = compressed(library, wish, layer), compressed(library, wish, layer)
    assert one == other
    assert one.media_type == {"gzip": OCI_LAYER_GZIP, "zstd": OCI_LAYER_ZSTD}[kind]
    assert plain(library, one) == tar(1, 2, 3)


def test_what_is_compressed_elsewhere_stays_unless_it_is_forced(library: ImageLibrary) -> None:
    theirs = made(library, tar(1), created="", gzipped=True)
    ours = made(library, tar(2))
    kept, packed = compressed(library, Compression(kind="zstd"), theirs, ours)
    assert (kept, packed.media_type) == (theirs.blob, OCI_LAYER_ZSTD)
    forced = compressed(library, Compression(kind="zstd", force=True), theirs, ours)
    assert [blob.media_type for blob in forced] == [OCI_LAYER_ZSTD] * 2
    assert plain(library, forced[0]) == tar(1)
    (loose,) = compressed(library, Compression(kind="uncompressed", force=True), theirs)
    assert (loose.media_type, loose.digest) == (OCI_LAYER, theirs.diff_id)


def test_what_was_compressed_is_not_compressed_again_while_it_is_here(library: ImageLibrary) -> None:
    layer = made(library, tar(1))

    async def twice(forms: LayerForms, lease: Lease, progress: Progress) -> list[int]:
        (blob,) = await forms.compressed([layer], Compression(), lease, progress)
        path = library.open_blob(blob.digest).name
        first = os.stat(path).st_ino
        await forms.compressed([layer], Compression(), lease, progress)
        again = os.stat(path).st_ino
        os.unlink(path)
        await forms.compressed([layer], Compression(), lease, progress)
        return [first, again, int(os.path.exists(path))]

    (first, again, back), _ = run(library, twice)
    assert first == again
    assert back
