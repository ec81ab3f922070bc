"""What every snapshot driver tells of damage and of bytes on disk, for fsck, df and the collector."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.contract.test_snapshots import driver, reopen  # noqa: F401 - fixtures
from tests.kernel.store.tars import member, tar

from corten.errors import NotFound
from corten.store.snapshots.driver import SnapshotDriver

FILES = (member("file", "a", b"1" * 50_000), member("file", "b", b"2"))


@pytest.fixture
def stack(driver: SnapshotDriver) -> SnapshotDriver:  # noqa: F811 - a fixture
    """Two layers and a container upon them."""
    driver.apply("low", "", tar(*FILES))
    driver.apply("high", "low", tar(member("file", "c", b"3")))
    driver.prepare("box", "high")
    return driver


def damage(path: Path) -> None:
    """Cut every regular file that holds a layer's bytes to its half."""
    for file in path.rglob("*"):
        if file.is_file() and not file.is_symlink() and "meta.db" not in file.name and file.stat().st_size:
            os.truncate(file, file.stat().st_size // 2)


def test_layers_and_snapshots_are_listed_with_what_they_stand_on(stack: SnapshotDriver) -> None:
    assert {chain_id: layer.parent for chain_id, layer in stack.layers().items()} == {"low": "", "high": "low"}
    assert {chain_id: layer.size for chain_id, layer in stack.layers().items()} == {"low": 50_001, "high": 1}
    assert stack.snapshots() == {"box": "high"}
    stack.remove("box")
    assert stack.snapshots() == {}


def test_sound_ones_have_no_problems(stack: SnapshotDriver) -> None:
    assert [stack.check_layer(chain_id) for chain_id in ("low", "high")] == [[], []]
    assert stack.check_snapshot("box") == []
    assert stack.orphans() == []
    for check in (stack.check_layer, stack.check_snapshot):
        with pytest.raises(NotFound):
            check("none")


def test_what_a_tar_names_twice_is_there_once(driver: SnapshotDriver) -> None:  # noqa: F811 - a fixture
    twice = (member("file", "a", b"1" * 50_000), member("dir", "d"), member("file", "d/b", b"22"), member("file", "d"))
    size = driver.apply(
        "low", "", tar(*twice, member("file", "a", b"333"), member("link", "l", "target"), member("hard", "h", "a"))
    )
    assert (size, driver.size("low")) == (9, 9)
    assert driver.check_layer("low") == []


def test_a_damaged_layer_is_found_forgotten_and_made_again(stack: SnapshotDriver, tmp_path: Path) -> None:
    damage(tmp_path)
    assert stack.check_layer("low")
    stack.forget_layer("low")
    assert "low" not in stack.layers()
    assert stack.check_layer("high")  # what it stands on is not here
    stack.apply("low", "", tar(*FILES))
    assert stack.check_layer("low") == []
    stack.forget_layer("none")
    fd = stack.root_fd("box")
    try:
        assert Path(f"/proc/self/fd/{fd}/a").read_bytes() == b"1" * 50_000
    finally:
        os.close(fd)


def test_a_snapshot_without_files_is_found(stack: SnapshotDriver, tmp_path: Path) -> None:
    for found in list(tmp_path.rglob("box")):
        shutil.rmtree(found)
    assert stack.check_snapshot("box")


def test_all_bytes_on_disk_are_told(stack: SnapshotDriver, tmp_path: Path) -> None:
    fd = stack.upper_fd("box")
    written = os.open("written", os.O_WRONLY | os.O_CREAT, dir_fd=fd)
    os.write(written, bytes(100_000))
    os.close(written)
    os.close(fd)
    (root,) = [path for path in tmp_path.iterdir() if path.is_dir()]
    usage = stack.disk_usage()
    assert set(usage) == {"layers", "snapshots", "trash"}
    assert sum(usage.values()) == int(subprocess.check_output(["du", "-sx", "--block-size=1", root]).split()[0])
    assert usage["snapshots"] >= 100_000
    assert usage["layers"] >= 50_000
    assert usage["trash"] == 0
    stack.remove("box")
    assert stack.disk_usage()["trash"] >= 100_000
    stack.purge()
    assert stack.disk_usage()["trash"] == stack.disk_usage()["snapshots"] == 0
