"""What a power cut finds is decided by the order of system calls: content before its record, records gone before content.

The calls are made as ever, and written down.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.kernel.store.tars import member, tar

from corten.engine.images.library import ImageLibrary
from corten.spec import oci_image
from corten.spec.digest import digest_of
from corten.store.content import ContentStore
from corten.store.db import Database
from corten.store.snapshots.formats import Directories
from corten.store.snapshots.layered import LayeredSnapshots

Trace = list[tuple[str, str]]


def place(target: Any) -> str:
    """What a call is about, as a path below the test's directory."""
    path = os.readlink(f"/proc/self/fd/{target}") if isinstance(target, int) else os.fsdecode(target)
    return path.split("/root/", 1)[-1]


@pytest.fixture
def trace(monkeypatch: pytest.MonkeyPatch) -> Trace:
    calls: Trace = []

    def write_down(name: str) -> None:
        real: Callable[..., Any] = getattr(os, name)

        def call(*arguments: Any, **options: Any) -> Any:
            calls.append((name, place(arguments[0])))
            return real(*arguments, **options)

        monkeypatch.setattr(os, name, call)

    for name in ("fsync", "rename", "unlink"):
        write_down(name)
    return calls


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[tuple[ImageLibrary, ContentStore, LayeredSnapshots]]:
    root = tmp_path / "root"
    root.mkdir()
    database = Database(root / "meta.db")
    content = ContentStore(root / "content")
    layers = LayeredSnapshots(
        root / "overlay", form=Directories(), layers=database.table("layers"), snapshots=database.table("snapshots")
    )
    records = database.table("images", durable=True)
    yield ImageLibrary(blobs=content, layers=layers, records=records), content, layers
    database.close()


async def add_image(library: ImageLibrary, layers: LayeredSnapshots) -> tuple[str, str]:
    data = tar(member("file", "a", b"1")).getvalue()
    layer = digest_of(data)
    layers.apply(layer, "", io.BytesIO(data))
    config = json.dumps(
        {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [layer]}}
    ).encode()
    library.put_blob(data)
    library.put_blob(config)
    kinds = "application/vnd.oci.image."
    manifest = json.dumps({
        "schemaVersion": 2, "mediaType": f"{kinds}manifest.v1+json",
        "config": {"mediaType": f"{kinds}config.v1+json", "digest": digest_of(config), "size": len(config)},
        "layers": [{"mediaType": f"{kinds}layer.v1.tar", "digest": layer, "size": len(data)}],
    }).encode()  # fmt: skip
    library.put_blob(manifest)
    document = oci_image.parse_document(manifest)
    assert isinstance(document, oci_image.Manifest)
    described = oci_image.Descriptor(
        media_type=f"{kinds}manifest.v1+json", digest=digest_of(manifest), size=len(manifest)
    )
    await library.add(described, document, oci_image.parse_image(config), ["docker.io/library/x:1"])
    return digest_of(config), layer


def test_a_blob_is_on_disk_before_it_has_a_name(tmp_path: Path, trace: Trace) -> None:
    content = ContentStore(tmp_path / "root/content")
    ingest = content.ingest("x")
    ingest.write(b"data")
    ingest.commit(digest_of(b"data"), 4)
    names = [name for name, _ in trace]
    assert names == ["fsync", "rename", "fsync"]
    assert trace[0][1] == trace[1][1]
    assert trace[2][1] == "content/blobs/sha256"


def test_an_image_is_recorded_after_its_content_and_durably(
    stores: tuple[ImageLibrary, ContentStore, LayeredSnapshots], trace: Trace
) -> None:
    library, _, layers = stores
    asyncio.run(add_image(library, layers))
    assert trace[-1] == ("fsync", "meta.db-wal")
    assert trace.index(("fsync", "meta.db-wal")) == len(trace) - 1
    assert trace.count(("fsync", "content/blobs/sha256")) == 3
    assert ("fsync", "overlay") in trace


def test_a_record_is_gone_for_good_before_its_content_goes(
    stores: tuple[ImageLibrary, ContentStore, LayeredSnapshots], trace: Trace
) -> None:
    library, content, layers = stores

    async def come_and_go() -> None:
        image, _ = await add_image(library, layers)
        trace.clear()
        await library.delete(image)

    asyncio.run(come_and_go())
    assert list(content.digests()) == []
    assert trace[0] == ("fsync", "meta.db-wal")
    assert {name for name, _ in trace[1:]} == {"rename", "unlink"}
    trace.clear()
    layers.purge()
    assert trace[0] == ("fsync", "meta.db-wal")
    assert ("unlink", "a") in trace
