"""Damage to a layer's image is found, wherever it is."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kernel.store.tars import member, tar

from corten.store.db import Database
from corten.store.erofs.layout import DATA_START
from corten.store.erofs.mount import Backing
from corten.store.snapshots.formats import Images
from corten.store.snapshots.layered import LayeredSnapshots

_TAR = tar(member("dir", "d"), member("file", "d/f", b"content" * 1000), member("link", "l", "d/f")).getvalue()
_LOW = f"sha256:{hashlib.sha256(_TAR).hexdigest()}"
_HIGH = f"sha256:{hashlib.sha256(f'{_LOW} {_LOW}'.encode()).hexdigest()}"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LayeredSnapshots]:
    table = Database(tmp_path / "meta.db").table
    made = LayeredSnapshots(
        tmp_path / "s", form=Images(Backing.FILE), layers=table("layers"), snapshots=table("snapshots")
    )
    made.apply(_LOW, "", io.BytesIO(_TAR))
    made.apply(_HIGH, _LOW, io.BytesIO(_TAR))
    yield made
    made.close()


def test_sound_images_have_no_problems(store: LayeredSnapshots) -> None:
    assert [store.check_layer(chain_id) for chain_id in (_LOW, _HIGH)] == [[], []]


@pytest.mark.parametrize("chain_id", [_LOW, _HIGH], ids=["low", "high"])
def test_every_damaged_byte_is_found(store: LayeredSnapshots, tmp_path: Path, chain_id: str) -> None:
    number = store.layers()[chain_id].number
    image = tmp_path / f"s/{number}/layer.erofs"
    size = image.stat().st_size
    with open(image, "r+b") as file:
        for at in [
            *range(0, DATA_START, 500),
            *range(DATA_START, DATA_START + len(_TAR), 333),
            *range(size - 800, size, 7),
        ]:
            (byte,) = os.pread(file.fileno(), 1, at)
            os.pwrite(file.fileno(), bytes([byte ^ 0x10]), at)
            assert store.check_layer(chain_id), at
            os.pwrite(file.fileno(), bytes([byte]), at)
        assert store.check_layer(chain_id) == []
        for cut in (size - 1, DATA_START + 5, 1500, 0):
            os.truncate(file.fileno(), cut)
            assert store.check_layer(chain_id), cut
