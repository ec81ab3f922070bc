"""A mount is ours only if it is the very one that was made, and what is mounted is not deleted on any way."""

import os

import pytest

from corten.engine.images.mounting import MountRow, is_ours
from corten.errors import Conflict

from .conftest import collect


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


async def test_a_mounted_image_is_neither_removed_nor_pruned_nor_given_up_for_space(engine, registry):
    made = registry.add_image("demo")
    await collect(engine.transfer.pull(f"{registry.host}/demo", "latest"))

    class Mounts:
        places = ("/mnt",)

        def of(self, image_id):
            return self.places if image_id == made.image_id else ()

    engine.images.mounts = mounts = Mounts()
    with pytest.raises(Conflict, match=r"\(cannot be forced\) - image is mounted at /mnt$"):
        await engine.images.remove(made.image_id, force=True)
    assert (await engine.images.prune({"dangling": ["false"]})).images_deleted is None
    assert engine.images.unused() == []
    assert await engine.images.discard(made.image_id) == []
    mounts.places = ()
    assert [entry.id for entry, _ in engine.images.unused()] == [made.image_id]
    assert await engine.images.discard(made.image_id)
