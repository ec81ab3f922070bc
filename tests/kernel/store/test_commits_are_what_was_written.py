"""Trees and changes to them as hypothesis makes them: what a container has written is told right, and a commit of it is
the same tree again, with either way of keeping layers."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.kernel.store.tars import Print, fingerprint
from tests.kernel.store.test_tars_are_those_of_gnu import _NODES, Node, build, gnu_tar

from corten.store.db import Database
from corten.store.erofs.mount import Backing
from corten.store.pack import PackedLayer
from corten.store.snapshots.driver import Change, SnapshotDriver
from corten.store.snapshots.formats import Directories, Images, LayerFormat
from corten.store.snapshots.layered import LayeredSnapshots

_MOUNT_POINTS = {b"dev", b"proc", b"sys", b"etc", b".dockerenv"}
Edit = tuple[str, int, bytes]
_EDITS = st.lists(
    st.tuples(
        st.sampled_from([
            "write", "write", "append", "make", "make", "directory", "delete", "delete", "empty", "swap", "mode", "owner",
            "link", "hard", "attribute", "time", "fifo", "hole", "rename",
        ]),
        st.integers(0, 200),
        st.binary(max_size=300),
    ),
    max_size=15,
)  # fmt: skip


@contextlib.contextmanager
def snapshots(form: LayerFormat) -> Iterator[LayeredSnapshots]:
    with tempfile.TemporaryDirectory(prefix="corten-commits-", dir="/var/tmp") as directory:
        database = Database(Path(directory) / "meta.db")
        driver = LayeredSnapshots(
            Path(directory) / "s", form=form, layers=database.table("layers"), snapshots=database.table("snapshots")
        )
        try:
            yield driver
        finally:
            driver.close()
            database.close()


@contextlib.contextmanager
def view(driver: SnapshotDriver, key: str) -> Iterator[Path]:
    fd = driver.root_fd(key)
    try:
        yield Path(f"/proc/self/fd/{fd}/")
    finally:
        os.close(fd)


def packed(nodes: list[Node]) -> bytes:
    """A tree of these nodes as GNU tar packs it."""
    with tempfile.TemporaryDirectory(prefix="corten-commits-", dir="/var/tmp") as source:
        build(nodes, os.fsencode(source))
        options = ["--format=posix", "--xattrs", "--sparse", "--numeric-owner", "--xattrs-include=*"]
        return gnu_tar("-c", *options, "-C", source, ".")


class Tree:
    """The files that one edit may be about. Links are never followed: they lead anywhere."""

    def __init__(self, root: bytes, number: int) -> None:
        directories, others = [root], list[bytes]()
        for parent, folders, files in os.walk(root):
            if parent == root:
                folders[:], files = [sorted(set(names) - _MOUNT_POINTS) for names in (folders, files)]
            found = [os.path.join(parent, name) for name in sorted([*folders, *files])]
            directories += [path for path in found if stat.S_ISDIR(os.lstat(path).st_mode)]
            others += [path for path in found if not stat.S_ISDIR(os.lstat(path).st_mode)]
        regular = [path for path in others if stat.S_ISREG(os.lstat(path).st_mode)]
        inner = directories[1:] + others
        self.directory = directories[number % len(directories)]
        self.fresh = os.path.join(self.directory, b"new-%d" % (number % 5))
        self.regular = regular[number % len(regular)] if regular else os.path.join(root, b"absent")
        self.any = inner[number % len(inner)] if inner else os.path.join(root, b"absent")


def write(path: bytes, data: bytes, flags: int, *, at: int = 0) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | flags, 0o644)
    try:
        if at:
            os.lseek(fd, at, os.SEEK_SET)
        os.write(fd, data)
    finally:
        os.close(fd)


def replace(tree: Tree, kind: str, data: bytes) -> None:
    """Delete something; put an empty directory, or something of another kind, in its place."""
    was_directory = stat.S_ISDIR(os.lstat(tree.any).st_mode)
    if was_directory:
        shutil.rmtree(tree.any)
    else:
        os.unlink(tree.any)
    if (kind == "empty" and was_directory) or (kind == "swap" and not was_directory):
        os.mkdir(tree.any)
        write(os.path.join(tree.any, b"inside"), data, os.O_CREAT | os.O_EXCL)
    elif kind == "swap":
        write(tree.any, data, os.O_CREAT | os.O_EXCL)


def describe(tree: Tree, kind: str, number: int, data: bytes) -> None:
    """Change what is said of a file."""
    match kind:
        case "mode":
            os.chmod(tree.regular, 0o640)
            os.chmod(tree.directory, 0o2711)
        case "owner":
            os.chown(tree.any, 12, 13, follow_symlinks=False)
        case "attribute":
            os.setxattr(tree.regular, "user.edited", data)
        case "time":
            os.utime(tree.any, ns=(number, number * 10**9 + 5), follow_symlinks=False)


def edit(root: bytes, kind: str, number: int, data: bytes) -> None:
    """One change, as a program in the container makes it. Raises OSError when it is impossible."""
    tree = Tree(root, number)
    match kind:
        case "write" | "append" | "hole":
            write(tree.regular, data, os.O_APPEND if kind == "append" else os.O_TRUNC, at=9000 * (kind == "hole"))
        case "make":
            write(tree.fresh, data, os.O_CREAT | os.O_EXCL)
        case "directory":
            os.mkdir(tree.fresh)
        case "delete" | "empty" | "swap":
            replace(tree, kind, data)
        case "link":
            os.symlink(data.replace(b"\0", b"0") or b"x", tree.fresh)
        case "hard":
            os.link(tree.regular, tree.fresh)
        case "fifo":
            os.mkfifo(tree.fresh)
        case "rename":
            os.rename(tree.regular, tree.fresh)
        case _:
            describe(tree, kind, number, data)


def differences(before: Print, after: Print) -> list[Change]:
    """Docker's list, found by comparing every path of the two trees."""
    kinds = dict[bytes, str]()
    for path, row in after.items():
        is_directory = str(row[0]).startswith("0o4")
        old = before.get(path)
        if old is None:
            kinds[path] = "A"
        elif old[:3] != row[:3] or (not is_directory and (old[3:5], old[5] if is_device(row) else 0) != (
            row[3:5], row[5] if is_device(row) else 0)):  # fmt: skip
            kinds[path] = "C"
    for path in before.keys() - after.keys():
        parent = os.path.dirname(path) or b"."
        if parent in after and str(after[parent][0]).startswith("0o4"):
            kinds[path] = "D"
    for path in list(kinds):
        while path := os.path.dirname(path):
            kinds.setdefault(path, "C")
    kinds.pop(b".", None)
    ordered = sorted(kinds.items(), key=lambda item: item[0].split(b"/"))
    return [Change(kind, b"/" + path) for path, kind in ordered]


def is_device(row: tuple[object, ...]) -> bool:
    return stat.S_ISCHR(int(str(row[0]), 8)) or stat.S_ISBLK(int(str(row[0]), 8))


def image_print(root: Path) -> Print:
    """What is there of image and container: without the mount points that lie between them, and the root's time."""
    found = {path: row for path, row in fingerprint(root).items() if path.split(b"/")[0] not in _MOUNT_POINTS}
    found[b"."] = (*found[b"."][:4], 0, *found[b"."][5:])  # the root of each snapshot is a new directory
    return found


_LONGEST = Node(b"n" * 255, 0, "file", 0o644, 0, 0, 1)


@example(nodes=[_LONGEST], edits=[("delete", 0, b"")])  # its whiteout has a name that no file could have
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(nodes=st.lists(_NODES, max_size=20), edits=_EDITS)
@pytest.mark.parametrize("form", [Directories(), Images(Backing.FILE)], ids=["overlay2", "erofs"])
def test_a_commit_is_the_tree_and_the_list_is_the_difference(
    form: LayerFormat, nodes: list[Node], edits: list[Edit]
) -> None:
    with snapshots(form) as driver:
        driver.apply("base", "", io.BytesIO(packed(nodes)))
        driver.prepare("c", "base")
        with view(driver, "c") as root:
            before = image_print(root)
            for one in edits:
                with contextlib.suppress(OSError):
                    edit(os.fsencode(root), *one)
        with view(driver, "c") as root:  # anew: overlayfs shows what it just copied up under its old inode number
            after = image_print(root)
        assert driver.changes("c") == differences(before, after)
        layer = PackedLayer(driver.upper_fd("c"))
        try:
            driver.apply("top", "base", layer)
        finally:
            layer.close()
        driver.prepare("d", "top")
        with view(driver, "d") as root:
            assert image_print(root) == after
        assert driver.changes("d") == []
