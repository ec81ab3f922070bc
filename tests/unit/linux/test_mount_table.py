"""What is mounted where: exactly there, the topmost of several, and nothing for what is no mount point."""

import os
from pathlib import Path

from corten.linux.mount_table import mounted_at


def test_a_mount_point_is_told_with_its_device():
    found = mounted_at("/proc")
    assert found is not None
    assert (found.device, found.fstype) == (os.stat("/proc").st_dev, "proc")


def test_a_directory_below_a_mount_is_none(tmp_path: Path):
    assert mounted_at(str(tmp_path)) is None
    assert mounted_at("/proc/") is None
    assert mounted_at("/nothing") is None
