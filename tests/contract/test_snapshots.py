"""What every snapshot driver promises (store/snapshots/driver.py), shown on each driver that there is."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.kernel.store.tars import fingerprint, member, pax, tar

from corten.errors import Conflict, NotFound
from corten.lib.tar import InvalidTar
from corten.store.db import Database
from corten.store.erofs.mount import Backing
from corten.store.snapshots.driver import Change, SnapshotDriver
from corten.store.snapshots.formats import Directories, Images
from corten.store.snapshots.layered import LayeredSnapshots

Opened = Callable[[], SnapshotDriver]


FORMS = [Directories(), Images(Backing.FILE), Images(Backing.LOOP)]


@pytest.fixture(params=FORMS, ids=["overlay2", "erofs", "erofs-loop"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opened]:
    """Opens the driver, as a daemon does that starts (again)."""
    opened: list[LayeredSnapshots] = []

    def make() -> SnapshotDriver:
        table = Database(tmp_path / "meta.db").table
        driver = LayeredSnapshots(
            tmp_path / "snapshots", form=request.param, layers=table("layers"), snapshots=table("snapshots")
        )
        opened.append(driver)
        return driver

    yield make
    for driver in opened:
        driver.close()


@pytest.fixture
def driver(reopen: Callable[[], LayeredSnapshots]) -> Iterator[SnapshotDriver]:
    before = sorted(os.listdir("/proc/self/fd"))
    mounts = Path("/proc/self/mountinfo").read_text()
    made = reopen()
    database = set(os.listdir("/proc/self/fd")) - set(before)
    yield made
    made.close()
    after = set(os.listdir("/proc/self/fd")) - database
    assert after <= set(before), "descriptors are left open"
    assert Path("/proc/self/mountinfo").read_text() == mounts


class Root:
    """The root of a snapshot as a directory of this process."""

    def __init__(self, driver: SnapshotDriver, key: str, **options: Any) -> None:
        self._fd = driver.root_fd(key, **options)
        self.path = Path(f"/proc/self/fd/{self._fd}")

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *_error: object) -> None:
        os.close(self._fd)


def base(driver: SnapshotDriver) -> None:
    """Two layers: a and, upon it, b."""
    driver.apply("a", "", tar(
        member("dir", "etc"), member("file", "etc/passwd", b"root"), member("file", "etc/gone", b"1"),
        member("dir", "full"), member("file", "full/one", b"1"), member("file", "full/two", b"2"),
        member("dir", "kept", mode=0o2750, uid=7, gid=8), member("file", "kept/x", b""),
        member("dir", "deep/er"), member("file", "deep/er/file", b"1"), member("link", "link", "etc"),
    ))  # fmt: skip
    driver.apply("b", "a", tar(
        member("file", "etc/.wh.gone"), member("file", "full/.wh..wh..opq"), member("file", "full/new", b"3"),
        member("file", "kept/y", b""), member("file", "deep", b"a file now"), member("dir", "link"),
    ))  # fmt: skip


def test_layers_merge_as_the_image_specification_says(driver: SnapshotDriver) -> None:
    base(driver)
    driver.prepare("c", "b")
    with Root(driver, "c") as root:
        assert (root / "etc/passwd").read_text() == "root"
        assert not (root / "etc/gone").exists()
        assert os.listdir(root / "full") == ["new"]
        assert (root / "deep").read_text() == "a file now"
        assert (root / "link").is_dir()
        assert not (root / "link").is_symlink()
        kept = (root / "kept").stat()
        assert (kept.st_mode & 0o7777, kept.st_uid, kept.st_gid) == (0o2750, 7, 8)
        assert sorted(os.listdir(root / "kept")) == ["x", "y"]


def test_whiteouts_speak_of_lower_layers_wherever_they_stand(driver: SnapshotDriver) -> None:
    driver.apply("a", "", tar(member("dir", "d"), member("file", "d/old", b"1"), member("file", "f", b"1")))
    driver.apply("b", "a", tar(
        member("dir", "d"), member("file", "d/new", b"2"), member("file", ".wh.d"), member("file", "f", b"2"),
        member("file", ".wh.f"),
    ))  # fmt: skip
    driver.prepare("c", "b")
    with Root(driver, "c") as root:
        assert os.listdir(root / "d") == ["new"]
        assert (root / "f").read_text() == "2"


def test_mount_points_are_there_and_are_no_change(driver: SnapshotDriver) -> None:
    base(driver)
    driver.prepare("c", "b")
    with Root(driver, "c") as root:
        assert all((root / name).exists() for name in ("proc", "sys", "dev/console", "etc/hosts", ".dockerenv"))
    assert driver.changes("c") == []
    assert driver.usage("c") == 0


def test_changes_are_dockers(driver: SnapshotDriver) -> None:
    base(driver)
    driver.prepare("c", "b")
    with Root(driver, "c") as root:
        (root / "new/sub").mkdir(parents=True)
        (root / "new/sub/file").write_text("12345")
        (root / "etc/passwd").write_text("changed")
        (root / "kept/x").unlink()
        (root / "full/new").unlink()
        (root / "full").rmdir()
        (root / "full").mkdir()
        (root / "full/two").touch()
        os.utime(root / "link", ns=(5, 5))
        (root / "deep").chmod(0o600)
        (root / "made").touch()
        (root / "made").unlink()
    assert driver.changes("c") == [
        Change("C", b"/deep"), Change("C", b"/etc"), Change("C", b"/etc/passwd"), Change("C", b"/full"),
        Change("D", b"/full/new"), Change("A", b"/full/two"), Change("C", b"/kept"), Change("D", b"/kept/x"),
        Change("A", b"/new"), Change("A", b"/new/sub"), Change("A", b"/new/sub/file"),
    ]  # fmt: skip
    assert driver.usage("c") == 5 + 7 + len("a file now")


def test_snapshots_do_not_see_each_other_nor_change_the_layer(driver: SnapshotDriver) -> None:
    base(driver)
    for key in ("one", "two"):
        driver.prepare(key, "b")
        with Root(driver, key) as root:
            (root / "etc/passwd").write_text(key)
    with Root(driver, "one") as root:
        assert (root / "etc/passwd").read_text() == "one"
    driver.prepare("three", "a")
    with Root(driver, "three") as root:
        assert (root / "etc/passwd").read_text() == "root"


def test_a_reader_of_a_root_in_use_sees_it_and_cannot_write(driver: SnapshotDriver) -> None:
    base(driver)
    driver.prepare("c", "b")
    with Root(driver, "c") as live:
        (live / "written").write_text("1")
        (live / "etc/passwd").unlink()
        with Root(driver, "c", writable=False) as root:
            assert (root / "written").read_text() == "1"
            assert not (root / "etc/passwd").exists()
            with pytest.raises(OSError, match="Read-only"):
                (root / "more").touch()
        (live / "later").write_text("still works")
        assert (live / "later").read_text() == "still works"


def test_a_snapshot_upon_nothing(driver: SnapshotDriver) -> None:
    driver.prepare("empty", "")
    with Root(driver, "empty") as root:
        (root / "f").touch()
        assert "etc" in os.listdir(root)
    assert Change("A", b"/f") in driver.changes("empty")


def test_attributes_arrive_whole(driver: SnapshotDriver) -> None:
    driver.apply("a", "", tar(
        pax(mtime=b"1234567890.123456789", SCHILY__xattr__user__note=b"hi") + member("file", "f", b"1", mode=0o4711, uid=3),
        member("hard", "g", "f"),
    ))  # fmt: skip
    driver.prepare("c", "a")
    with Root(driver, "c", writable=False) as root:
        found = fingerprint(root)
    assert found[b"f"][:5] == (oct(0o104711), 3, 0, 1, 1234567890123456789)
    assert found[b"f"][7] == {"user.note": b"hi"}


def test_what_fails_leaves_nothing(driver: SnapshotDriver) -> None:
    data = tar(member("file", "f", b"1" * 5000))
    data.truncate(1500)
    with pytest.raises(InvalidTar):
        driver.apply("a", "", data)
    assert not driver.has("a")
    with pytest.raises(NotFound):
        driver.apply("b", "absent", tar(member("file", "f")))
    with pytest.raises(NotFound):
        driver.prepare("c", "absent")
    assert list(driver.keys()) == []
    driver.apply("a", "", tar(member("file", "f", b"1")))
    assert driver.has("a")


def test_what_is_used_stays(driver: SnapshotDriver) -> None:
    base(driver)
    driver.prepare("c", "b")
    with pytest.raises(Conflict):
        driver.prepare("c", "b")
    for chain in ("a", "b"):
        with pytest.raises(Conflict):
            driver.remove_layer(chain)
    driver.remove("c")
    driver.remove("c")
    for chain in ("b", "a", "a"):
        driver.remove_layer(chain)
    assert not driver.has("a")
    with pytest.raises(NotFound):
        driver.rootfs("c")
    with pytest.raises(NotFound):
        driver.size("a")


def test_everything_is_there_again_after_a_restart(reopen: Opened) -> None:
    driver = reopen()
    base(driver)
    mount = driver.prepare("c", "b")
    with Root(driver, "c") as root:
        (root / "f").write_text("1")
    again = reopen()
    assert again.has("a")
    assert again.size("b") == driver.size("b")
    assert again.rootfs("c") == mount
    assert again.changes("c") == [Change("A", b"/f")]
    again.remove("c")
    again.purge()
    assert list(reopen().keys()) == []


def test_one_layer_of_several_threads_at_once(driver: SnapshotDriver) -> None:
    data = tar(*(member("file", f"f{number}", b"1" * 100) for number in range(300))).getvalue()
    errors: list[BaseException] = []
    sizes: list[int] = []

    def apply() -> None:
        import io

        try:
            sizes.append(driver.apply("a", "", io.BytesIO(data)))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=apply) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (errors, sizes) == ([], [30_000] * 6)
    driver.purge()
    driver.prepare("c", "a")
    with Root(driver, "c") as root:
        assert len([name for name in os.listdir(root) if name.startswith("f")]) == 300


def test_several_threads_may_delete_at_once_what_was_given_up(driver: SnapshotDriver) -> None:
    base(driver)
    errors: list[BaseException] = []

    def purge() -> None:
        try:
            together.wait()
            driver.purge()
        except BaseException as error:
            errors.append(error)

    for turn in range(10):
        for number in range(10):
            driver.prepare(f"{turn}-{number}", "b")
            with Root(driver, f"{turn}-{number}") as root:
                for name in ("x", "y"):
                    (root / name / "deep/er").mkdir(parents=True)
        for number in range(10):
            driver.remove(f"{turn}-{number}")
        together = threading.Barrier(4)
        threads = [threading.Thread(target=purge) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert errors == []


@pytest.mark.parametrize("count", [40, 120])
def test_many_layers(driver: SnapshotDriver, count: int) -> None:
    parent = ""
    for number in range(count):
        driver.apply(
            f"l{number}", parent, tar(member("file", f"f{number}", b"1"), member("file", "top", b"%d" % number))
        )
        parent = f"l{number}"
    driver.prepare("c", parent)
    for writable in (True, False):
        with Root(driver, "c", writable=writable) as root:
            assert (root / "top").read_text() == str(count - 1)
            assert len([name for name in os.listdir(root) if name.startswith("f")]) == count


def test_an_image_is_a_read_only_root_of_its_layers_alone(driver: SnapshotDriver) -> None:
    driver.apply("one", "", tar(member("file", "etc/hosts", b"the image's\n"), member("file", "gone", b"1")))
    driver.apply("two", "one", tar(member("file", ".wh.gone"), member("file", "new", b"2")))
    expected = {"": set(), "one": {"etc", "gone"}, "two": {"etc", "new"}}
    for chain_id, names in expected.items():
        fd = driver.image_fd(chain_id)
        try:
            root = Path(f"/proc/self/fd/{fd}")
            assert set(os.listdir(root)) == names
            if names:
                assert (root / "etc/hosts").read_text() == "the image's\n"
            with pytest.raises(OSError, match="Read-only file system"):
                (root / "file").touch()
            flags = os.statvfs(fd).f_flag
            assert flags & os.ST_NOSUID
            assert flags & 0x4  # ST_NODEV, which the os module does not name everywhere
        finally:
            os.close(fd)
    with pytest.raises(NotFound):
        driver.image_fd("nothing")
