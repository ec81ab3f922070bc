"""Volumes on disk: options, removal of hostile trees, copies of image content."""

import contextlib
import os
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.errors import InvalidArgument
from corten.linux.mount import MS_BIND, MS_NODEV, MS_RDONLY, MS_REC, MS_SHARED
from corten.volumes import mount_options
from corten.volumes.copy_up import copy_up
from corten.volumes.local import LocalDriver
from corten.volumes.tree import remove_tree, tree_size


@pytest.fixture
def driver(tmp_path):
    return LocalDriver(tmp_path / "volumes")


def test_a_volume_is_a_directory(driver):
    driver.create("v", {})
    path = driver.path("v")
    assert os.path.isdir(path)
    assert driver.mount("v", {}) == path
    assert driver.names() == ["v"]
    driver.remove("v", {})
    assert driver.names() == []
    assert not os.path.exists(path)
    driver.remove("v", {})


def test_a_removal_that_was_cut_off_is_finished(driver, tmp_path):
    driver.create("v", {})
    os.rename(tmp_path / "volumes/v", tmp_path / "volumes/.removing-0123")
    assert driver.names() == []
    assert os.listdir(tmp_path / "volumes") == []


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"bogus": "x"}, 'invalid option: "bogus"'),
        ({"type": "tmpfs"}, 'missing required option: "device"'),
        ({"device": "tmpfs"}, 'missing required option: "type"'),
        ({"o": "ro"}, 'missing required option: "device"'),
        ({"type": "none", "device": "relative", "o": "bind"}, "must be an absolute path"),
        ({"type": "a b", "device": "x"}, "invalid volume type"),
        ({"type": "tmpfs", "device": "tmpfs", "o": "x" * 5000}, "invalid mount options"),
        ({"type": "none", "device": "/a\0b", "o": "bind"}, "invalid mount options"),
        ({"size": "1g"}, "no quota support"),
    ],
)
def test_options_that_cannot_work_are_refused_and_nothing_is_made(driver, options, text):
    with pytest.raises(InvalidArgument, match=text):
        driver.create("v", options)
    assert driver.names() == []


def test_options_become_a_mount():
    plan = mount_options.plan({"type": "none", "device": "/src", "o": "rbind,ro,nodev,rshared"})
    assert plan.flags == MS_BIND | MS_REC | MS_RDONLY | MS_NODEV
    assert plan.propagation == MS_SHARED | MS_REC
    plan = mount_options.plan({"type": "nfs4", "device": ":/export", "o": "addr=server.example,rw,vers=4.2"})
    assert (plan.data, plan.address, plan.flags) == ("addr=server.example,vers=4.2", "server.example", 0)
    assert mount_options.plan({}) is None


@given(st.dictionaries(st.sampled_from(["type", "o", "device", "size", "x"]), st.text(max_size=30), max_size=4))
def test_any_options_give_a_plan_or_a_refusal(options):
    with contextlib.suppress(InvalidArgument):
        mount_options.check(options)


def make_deep(path, depth):
    os.makedirs(path)
    fd = os.open(path, os.O_RDONLY)
    try:
        for _ in range(depth):
            os.mkdir("d", dir_fd=fd)
            inner = os.open("d", os.O_RDONLY, dir_fd=fd)
            os.close(os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=inner))
            os.close(fd)
            fd = inner
    finally:
        os.close(fd)


def remove(path):
    fd = os.open(os.path.dirname(path), os.O_RDONLY)
    try:
        remove_tree(fd, os.path.basename(path))
    finally:
        os.close(fd)


@pytest.mark.parametrize("depth", [0, 10, 255, 256, 257, 3000])
def test_trees_of_any_depth_are_removed(tmp_path, depth):
    make_deep(tmp_path / "t", depth)
    remove(tmp_path / "t")
    assert os.listdir(tmp_path) == []


def test_removal_follows_nothing_and_takes_every_kind_of_file(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    tree = tmp_path / "t"
    tree.mkdir()
    (tree / "link").symlink_to(outside)
    (tree / "file").symlink_to(outside / "precious")
    os.link(outside / "precious", tree / "hard")
    os.mkfifo(tree / "fifo")
    os.mknod(tree / "null", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    (tree / b"\xff\n".decode("utf-8", "surrogateescape")).mkdir()
    remove(tree)
    assert (outside / "precious").read_text() == "x"
    (tmp_path / "top").symlink_to(outside)
    remove(tmp_path / "top")
    assert sorted(os.listdir(tmp_path)) == ["outside"]


def test_size_counts_an_inode_once_and_follows_nothing(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 1000)
    os.link(tmp_path / "a", tmp_path / "b")
    (tmp_path / "d").mkdir()
    (tmp_path / "d/c").write_bytes(b"x" * 10)
    (tmp_path / "l").symlink_to("/etc")
    assert tree_size(str(tmp_path)) == 1010
    assert tree_size(str(tmp_path / "missing")) == 0


@pytest.fixture
def image(tmp_path):
    root = tmp_path / "root"
    (root / "data/sub").mkdir(parents=True)
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    volume = tmp_path / "volume"
    volume.mkdir()
    yield root, fd, volume
    os.close(fd)


def test_copy_up_keeps_what_a_file_is(image):
    root, fd, volume = image
    data = root / "data"
    (data / "file").write_text("hello")
    os.chown(data / "file", 33, 44)
    os.chmod(data / "file", 0o4751)
    os.utime(data / "file", ns=(10**18, 10**18 + 5))
    os.setxattr(data / "file", "user.note", b"x")
    os.link(data / "file", data / "sub/hard")
    (data / "link").symlink_to("/nowhere")
    os.mkfifo(data / "fifo", 0o622)
    os.mknod(data / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    with open(data / "sparse", "wb") as sparse:
        sparse.truncate(1 << 30)
        sparse.seek(1 << 29)
        sparse.write(b"middle")
    os.chown(data, 33, 33)
    os.chmod(data, 0o750)
    assert copy_up(fd, "/data", str(volume))
    status = os.stat(volume / "file")
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o4751, 33, 44)
    assert status.st_mtime_ns == 10**18 + 5
    assert os.getxattr(volume / "file", "user.note") == b"x"
    assert os.stat(volume / "sub/hard").st_ino == status.st_ino
    assert os.readlink(volume / "link") == "/nowhere"
    assert stat.S_ISFIFO(os.stat(volume / "fifo").st_mode)
    assert os.stat(volume / "null").st_rdev == os.makedev(1, 3)
    assert os.stat(volume / "sparse").st_size == 1 << 30
    assert os.stat(volume / "sparse").st_blocks * 512 < 1 << 20
    top = os.stat(volume)
    assert (stat.S_IMODE(top.st_mode), top.st_uid) == (0o750, 33)


def test_copy_up_leaves_a_volume_with_content_alone(image):
    root, fd, volume = image
    (root / "data/file").write_text("image")
    (volume / "mine").write_text("mine")
    assert not copy_up(fd, "/data", str(volume))
    assert os.listdir(volume) == ["mine"]


@pytest.mark.parametrize("path", ["/missing", "/data/file", "/loop", "/data/file/below"])
def test_copy_up_of_nothing_is_nothing(image, path):
    root, fd, volume = image
    (root / "data/file").write_text("x")
    (root / "loop").symlink_to("/loop")
    assert not copy_up(fd, path, str(volume))


def test_copy_up_never_leaves_the_image(image, tmp_path):
    root, fd, volume = image
    (tmp_path / "host").mkdir()
    (tmp_path / "host/secret").write_text("secret")
    (root / "escape").symlink_to(str(tmp_path / "host"))
    (root / "dots").symlink_to("../../../../../../../.." + str(tmp_path / "host"))
    (root / "data/inner").symlink_to(str(tmp_path / "host"))
    assert not copy_up(fd, "/escape", str(volume))
    assert not copy_up(fd, "/dots", str(volume))
    assert not copy_up(fd, "/../host", str(volume))
    assert copy_up(fd, "/data", str(volume))
    assert os.path.islink(volume / "inner")


def test_copy_up_carries_no_marks_of_an_overlay(image):
    root, fd, volume = image
    (root / "data/dir").mkdir()
    os.setxattr(root / "data/dir", "trusted.overlay.opaque", b"y")
    copy_up(fd, "/data", str(volume))
    assert os.listxattr(volume / "dir") == []


def test_copy_up_refuses_what_is_too_deep(image):
    root, fd, volume = image
    make_deep(root / "data/deep", 300)
    with pytest.raises(InvalidArgument, match="deeper than"):
        copy_up(fd, "/data", str(volume))
