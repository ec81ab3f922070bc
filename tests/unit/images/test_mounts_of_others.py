"""A mount is ours only if it is the very one that was made: numbers of devices are used again."""

import os

from corten.engine.images.mounting import MountRow, is_ours


def row(**fields):
    return MountRow(image_id="sha256:x", image="x", **fields)


def test_another_file_system_with_the_same_device_is_not_ours():
    assert not is_ours("/proc", row(device=os.stat("/proc").st_dev))


def test_what_is_no_mount_point_is_not_ours(tmp_path):
    assert not is_ours(str(tmp_path), row(device=os.stat(tmp_path).st_dev))


def test_an_overlay_of_other_layers_is_not_ours(monkeypatch):
    from corten.engine.images import mounting
    from corten.linux.mount_table import Mounted

    monkeypatch.setattr(mounting, "mounted_at", lambda _: Mounted(5, "overlay", "ro,lowerdir=a:b"))
    assert is_ours("/x", row(device=5))  # a crash came before its options were known
    assert is_ours("/x", row(device=5, options="ro,lowerdir=a:b"))
    assert not is_ours("/x", row(device=5, options="ro,lowerdir=a:c"))
    assert not is_ours("/x", row(device=6, options="ro,lowerdir=a:b"))
