"""Files that are written as an image without a tar are those that unpacking gives; what is wrong is refused."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kernel.store.tars import fingerprint, member, pax_of, tar, unpack

from corten.lib.tar import Entry, InvalidTar, TarReader
from corten.linux.mount import MOUNT_ATTR_NODEV, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY
from corten.store.erofs.mount import Backing, mount_open_image
from corten.store.erofs.shown import ImageWriter

_AS_DATA = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV
MEMBERS = [
    member("dir", ".", mode=0o750, uid=3),
    member("dir", "d", mode=0o700, uid=7, gid=8),
    member("file", "d/empty"),
    member("file", "d/one byte", b"1"),
    member("file", "d/a block", bytes(range(256)) * 2),
    member("file", "d/large", os.urandom(3 << 20), mode=0o4755),
    member("hard", "again", "d/large"),
    member("link", "d/link", "../again"),
    member("link", "long", "x/" * 400),
    member("dir", "many"),
    member("fifo", "d/fifo"),
    member("char", "d/null", device=(1, 3)),
    pax_of({b"SCHILY.xattr.user.a": b"1"}) + member("file", "attributed", b"2"),
    *(member("file", f"many/{number:04}", b"%d" % number * 300) for number in range(1500)),
]


def nameless(directory: Path) -> int:
    return os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)


def entries() -> Iterator[tuple[Entry, list[bytes]]]:
    """What the members are, with their bytes."""
    data = tar(*MEMBERS).getvalue()
    reader = TarReader(io.BytesIO(data))
    for entry in reader:
        yield entry, [data[reader.offset : reader.offset + entry.size]] if entry.kind == "file" else []


@pytest.mark.parametrize("backing", list(Backing))
def test_the_mounted_image_has_what_unpacking_gives_and_needs_no_name(tmp_path: Path, backing: Backing) -> None:
    (tmp_path / "unpacked").mkdir()
    unpack(tar(*MEMBERS), tmp_path / "unpacked")
    fd = nameless(tmp_path)
    writer = ImageWriter(fd)
    for entry, data in entries():
        writer.add(entry, data)
    writer.finish()
    mounted = mount_open_image(fd, backing, _AS_DATA)
    os.close(fd)  # the mount holds it
    try:
        root = Path(f"/proc/self/fd/{mounted}")
        assert fingerprint(root) == fingerprint(tmp_path / "unpacked")
        flags = os.fstatvfs(mounted).f_flag
        assert flags & os.ST_RDONLY
        assert flags & os.ST_NOSUID
        with pytest.raises(PermissionError):  # a device is none
            (root / "d/null").open("rb")
    finally:
        os.close(mounted)
    assert [path.name for path in tmp_path.iterdir()] == ["unpacked"]


def test_data_of_another_size_is_refused(tmp_path: Path) -> None:
    fd = nameless(tmp_path)
    try:
        for data in ([b"12"], [b"12", b"34"], []):
            writer = ImageWriter(fd)
            with pytest.raises(ValueError, match="not 3"):
                writer.add(Entry(b"f", "file", 0o644, 0, 0, 3, 0), data)
        with pytest.raises(InvalidTar, match="leads out"):
            ImageWriter(fd).add(Entry(b"../f", "file", 0o644, 0, 0, 1, 0), [b"1"])
    finally:
        os.close(fd)
