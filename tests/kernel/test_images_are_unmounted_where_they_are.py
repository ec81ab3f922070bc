"""An image is unmounted where it was mounted, although somebody else owns the directories on the way."""

import os
import subprocess

import pytest

from corten.engine.images.mounting import MountRow, take_away


@pytest.fixture
def mounted(tmp_path):
    place = tmp_path / "theirs/mnt"
    place.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", "-q", place], check=False)


def row_of(place):
    return MountRow(image_id="sha256:x", image="x", device=os.stat(place).st_dev)


def test_a_link_that_was_put_on_the_way_is_not_followed(tmp_path, mounted):
    (tmp_path / "ours").symlink_to("theirs")
    for force in (False, True):
        with pytest.raises(OSError, match="too many levels of symbolic links"):
            take_away(str(tmp_path / "ours/mnt"), row_of(mounted), force=force)
    assert os.path.ismount(mounted)


def test_another_mount_in_its_place_stays(mounted):
    row = row_of(mounted.parent)
    with pytest.raises(OSError, match="something else was put there"):
        take_away(str(mounted), row, force=True)
    assert os.path.ismount(mounted)


def test_its_own_mount_goes(mounted):
    take_away(str(mounted), row_of(mounted), force=False)
    assert not os.path.ismount(mounted)
