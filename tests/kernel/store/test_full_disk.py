"""A disk that fills up while a layer is made: a clear error, nothing left, and the next layer works."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kernel.store.tars import member, tar

from corten.linux.mount import MNT_DETACH, mount, umount2
from corten.store.db import Database
from corten.store.erofs.mount import Backing
from corten.store.snapshots.formats import Directories, Images, LayerFormat
from corten.store.snapshots.layered import LayeredSnapshots

_ROOM = 2 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "disk"
    path.mkdir()
    mount("tmpfs", str(path), "tmpfs", 0, f"size={_ROOM}")
    yield path
    umount2(str(path), MNT_DETACH)


def taken(disk: Path) -> int:
    status = os.statvfs(disk)
    return (status.f_blocks - status.f_bfree) * status.f_frsize


# On tmpfs images need a loop device; they are written the same way for both.
@pytest.mark.parametrize("form", [Directories(), Images(Backing.LOOP)], ids=["overlay2", "erofs"])
@pytest.mark.parametrize("size", [_ROOM - (64 << 10), 2 * _ROOM], ids=["at the end", "in the middle"])
def test_a_full_disk_leaves_nothing(tmp_path: Path, disk: Path, form: LayerFormat, size: int) -> None:
    table = Database(tmp_path / "meta.db").table
    store = LayeredSnapshots(disk / "s", form=form, layers=table("layers"), snapshots=table("snapshots"))
    before = taken(disk)
    files = [member("file", f"f{number}", b"x") for number in range(1000)]
    with pytest.raises(OSError, match="No space left") as full:
        store.apply("a", "", tar(member("file", "large", bytes(size)), *files))
    assert full.value.errno == errno.ENOSPC
    assert (store.has("a"), list(store.layers())) == (False, [])
    store.purge()
    assert taken(disk) <= before + (32 << 10)
    store.apply("a", "", io.BytesIO(tar(member("file", "f", b"1")).getvalue()))
    assert store.has("a")
    store.close()
