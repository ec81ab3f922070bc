"""Layers and blobs that no image names are deleted at the next start, and nothing else."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
from pathlib import Path

from tests.kernel.store.tars import member, tar

from corten.engine.images.library import ImageLibrary
from corten.store.content import ContentStore
from corten.store.db import Database
from corten.store.snapshots.formats import Directories
from corten.store.snapshots.layered import LayeredSnapshots

_KINDS = "application/vnd.oci.image."


class Stores:
    """As the daemon opens them."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path / "meta.db")
        table = self._database.table
        self.content = ContentStore(path / "content")
        self.layers = LayeredSnapshots(
            path / "overlay", form=Directories(), layers=table("layers"), snapshots=table("snapshots")
        )
        self.records = table("images")
        self.library = ImageLibrary(blobs=self.content, layers=self.layers, records=self.records)

    def sweep(self, older_than_s: float = 0) -> None:
        self.library.load()
        asyncio.run(self.library.collect(older_than_s=older_than_s))

    def put(self, data: bytes) -> dict[str, object]:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        ingest = self.content.ingest(digest)
        ingest.write(data)
        ingest.commit(digest, len(data))
        return {"digest": digest, "size": len(data)}

    def add_image(self) -> str:
        data = tar(member("file", "f", b"1")).getvalue()
        layer = self.put(data)
        chain = str(layer["digest"])
        self.layers.apply(chain, "", io.BytesIO(data))
        config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [chain]}}
        described = self.put(json.dumps(config).encode())
        manifest = {
            "schemaVersion": 2, "mediaType": f"{_KINDS}manifest.v1+json",
            "config": {"mediaType": f"{_KINDS}config.v1+json", **described},
            "layers": [{"mediaType": f"{_KINDS}layer.v1.tar", **layer}],
        }  # fmt: skip
        found = self.put(json.dumps(manifest).encode())
        image_id = str(described["digest"])
        record = {
            "manifest": {"mediaType": manifest["mediaType"], **found}, "references": [], "layer_sizes": [1],
        }  # fmt: skip
        self.records.put(image_id, json.dumps(record).encode())
        return chain

    def leave_behind(self, parent: str) -> str:
        lost = self.put(os.urandom(50))
        for number in range(3):
            self.layers.apply(f"lost{number}", parent, tar(member("file", "x")))
            parent = f"lost{number}"
        return str(lost["digest"])


def test_what_no_image_needs_goes_at_the_next_start(tmp_path: Path) -> None:
    first = Stores(tmp_path)
    chain = first.add_image()
    lost = first.leave_behind(chain)
    again = Stores(tmp_path)
    again.sweep()
    assert list(again.layers.layers()) == [chain]
    assert lost not in set(again.content.digests())
    assert len(list(again.content.digests())) == 3
    assert len(again.library.catalog) == 1


def test_recent_blobs_wait_for_their_pull_to_be_tried_again(tmp_path: Path) -> None:
    stores = Stores(tmp_path)
    lost = stores.leave_behind("")
    stores.sweep(older_than_s=3600)
    assert list(stores.content.digests()) == [lost]
    assert dict(stores.layers.layers()) == {}


def test_layers_below_a_container_stay(tmp_path: Path) -> None:
    stores = Stores(tmp_path)
    stores.leave_behind("")
    stores.layers.prepare("container", "lost1")
    stores.sweep()
    assert sorted(stores.layers.layers()) == ["lost0", "lost1"]


def test_nothing_goes_while_an_image_cannot_be_read(tmp_path: Path) -> None:
    stores = Stores(tmp_path)
    chain = stores.add_image()
    lost = stores.leave_behind(chain)
    stores.records.put("sha256:" + "0" * 64, b"damaged")
    stores.sweep()
    assert len(stores.layers.layers()) == 4
    assert lost in set(stores.content.digests())
