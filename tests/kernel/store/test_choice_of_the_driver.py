"""Which storage driver a data root gets, and that it keeps it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.kernel.store.tars import member, tar

from corten.errors import FailedPrecondition
from corten.linux.mount import MNT_DETACH, mount, umount2
from corten.store.db import Database
from corten.store.erofs.mount import Backing, probe
from corten.store.snapshots.choose import open_snapshots
from corten.store.snapshots.layered import LayeredSnapshots

Open = Callable[[str], LayeredSnapshots]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Open the data root with this driver asked for, as a daemon that starts (again)."""
    made: list[LayeredSnapshots] = []
    tables = Database(tmp_path / "meta.db").table

    def open_(wanted: str) -> LayeredSnapshots:
        for earlier in made:
            earlier.close()
        made.append(open_snapshots(tmp_path / "snapshots", wanted=wanted, tables=tables))
        return made[-1]

    yield open_
    made[-1].close()


def works() -> str:
    """What this kernel is to choose: 512-byte blocks came with Linux 6.4."""
    major, minor = os.uname().release.split(".")[:2]
    return "erofs" if (int(major), int(minor)) >= (6, 4) else "overlay2"


def test_the_best_that_works_is_chosen_and_nothing_is_left_of_trying(opened: Open, tmp_path: Path) -> None:
    assert opened("").name == works()
    assert [path for path in (tmp_path / "snapshots").iterdir() if path.name.startswith("probe")] == []


@pytest.mark.parametrize("alias", ["overlay2", "overlay", "overlayfs"])
def test_what_is_asked_for_is_used(opened: Open, alias: str) -> None:
    assert opened(alias).name == "overlay2"


def test_a_data_root_without_layers_may_change(opened: Open) -> None:
    for wanted in ("overlay2", "", "overlay2"):
        assert opened(wanted).name == (wanted or works())


def test_a_data_root_with_layers_keeps_its_driver(opened: Open) -> None:
    opened("overlay2").apply("a", "", tar(member("file", "f", b"1")))
    again = opened("")
    assert (again.name, again.has("a")) == ("overlay2", True)
    with pytest.raises(FailedPrecondition, match="holds layers of the storage driver overlay2"):
        opened("erofs")
    opened("").remove_layer("a")
    assert opened("").name == works()


def test_layers_in_images_stay_with_them(opened: Open) -> None:
    if works() != "erofs":
        with pytest.raises(FailedPrecondition, match="does not work here"):
            opened("erofs")
        return
    opened("erofs").apply("a", "", tar(member("file", "f", b"1")))
    assert opened("").name == "erofs"
    with pytest.raises(FailedPrecondition, match="holds layers of the storage driver erofs"):
        opened("overlay2")


def test_on_overlayfs_a_loop_device_is_used(tmp_path: Path) -> None:
    if works() != "erofs":
        return
    for name in ("lower", "upper", "work", "merged"):
        (tmp_path / name).mkdir()
    given = ",".join(f"{key}dir={tmp_path}/{key}" for key in ("lower", "upper", "work"))
    mount("overlay", str(tmp_path / "merged"), "overlay", 0, given)
    try:
        backing, reason = probe(tmp_path / "merged")
    finally:
        umount2(str(tmp_path / "merged"), MNT_DETACH)
    assert backing in (Backing.LOOP, Backing.FILE), reason  # files on overlayfs are refused since January 2026
