"""Build contexts that nobody vouches for: names and links lead nowhere but into the table of members."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import io
import os
import tarfile
import tempfile
import threading
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.build.trees import entry, tar_of, tree_of

from corten.build.copying.archive import is_archive, open_archive
from corten.build.ops.store import LayerStore
from corten.build.trees.mounted import MountedTree
from corten.build.trees.tar import TarTree
from corten.build.trees.tree import component_pattern, match, resolve, walk
from corten.engine.images.progress import Progress
from corten.errors import Cancelled, CortenError
from corten.lib.tar import InvalidTar
from corten.lib.tar_writer import TarWriter


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/..", "a/.."])
def test_a_name_that_leads_up_is_refused(name):
    with pytest.raises(InvalidTar, match="outside"):
        tree_of({name: b""})


def test_names_are_taken_from_the_root_on():
    assert sorted(path for path, _ in walk(tree_of({"/etc/x": b"", "./y": b"", "a//b": b""}), "")) == [
        "a", "a/b", "etc", "etc/x", "y",
    ]  # fmt: skip


def test_a_member_below_a_link_or_file_is_refused():
    for below in ("l", b"f"):
        with pytest.raises(InvalidTar, match="is no directory"):
            tree_of({"x": below, "x/passwd": b""})


def test_of_equal_names_the_last_counts_with_what_is_below():
    tree = tree_of({"d": None, "d/x": b"1", "f": b"1"})
    assert tree.lstat("d/x") is not None
    tree = tree_of({"d": None, "d/x": b"1", "./d": b"now a file", "f": b"1", "./f": b"22"})
    assert [(path, node.size) for path, node in walk(tree, "")] == [("d", 10), ("f", 2)]


def hard_linked(target: bytes) -> TarTree:
    file = tempfile.TemporaryFile()
    writer = TarWriter(file.write)
    writer.add(entry("f", "file", size=2), [b"ab"])
    writer.add(entry("l", "hardlink", link=target))
    writer.finish()
    file.flush()
    return TarTree(file)


def test_a_hard_link_is_its_target_in_the_archive_or_an_error():
    assert b"".join(hard_linked(b"./f").chunks("l")) == b"ab"
    for target in (b"/etc/passwd", b"../f", b"g", b"."):
        with pytest.raises(InvalidTar):
            hard_linked(target)


def test_ignored_members_go_and_directories_stay_for_what_is_kept_below():
    tree = tree_of({"a": None, "a/b": None, "a/b/keep": b"", "a/c": None, "a/c/x": b"", "z": b""})
    tree.without(lambda path: path != "a/b/keep")
    assert [path for path, _ in walk(tree, "")] == ["a", "a/b", "a/b/keep"]


def test_extended_attributes_of_overlayfs_are_left_out():
    tree = tree_of(
        {"f": b""}, xattrs={b"trusted.overlay.redirect": b"x", b"user.overlay.opaque": b"y", b"user.a": b"1"}
    )
    assert tree.xattrs("f") == {b"user.a": b"1"}


@given(st.binary(max_size=2000))
def test_any_bytes_are_a_tree_or_an_error(data):
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        with contextlib.suppress(CortenError):
            assert TarTree(file).lstat("") is not None


@given(st.lists(st.sampled_from(["a", "b", "..", ".", "l", "up", "abs"]), max_size=12))
def test_no_path_leads_out(parts):
    tree = tree_of({"a": None, "a/b": None, "l": "a/b", "a/up": "../../../..", "abs": "/a"})
    try:
        real = resolve(tree, "/".join(parts))
    except OSError:
        return
    assert ".." not in real.split("/")
    assert not real.startswith("/")


def test_archives_are_told_by_their_bytes_and_unpacked_in_place():
    inner = tar_of({"x": b"1"}, uid=5)
    tree = tree_of({"a.bin": inner.getvalue(), "b.tar": b"no tar", "empty.tar": b""})
    assert [is_archive(tree, name) for name in ("a.bin", "b.tar", "empty.tar")] == [True, False, False]
    unpacked = open_archive(tree, "a.bin", tempfile.TemporaryFile)
    try:
        node = unpacked.lstat("x")
        assert node is not None
        assert (node.uid, b"".join(unpacked.chunks("x"))) == (5, b"1")
    finally:
        unpacked.close()


def test_a_file_that_is_cut_off_is_no_endless_read():
    whole = tar_of({"x": b"1" * 5000}).getvalue()
    with pytest.raises(InvalidTar):
        TarTree(io.BufferedReader(io.BytesIO(whole[:2000])))  # type: ignore[arg-type]


def test_what_members_take_in_memory_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("corten.build.trees.tar._MEMORY_LIMIT", 100_000)
    assert tree_of({"f": b""}).lstat("f") is not None
    with pytest.raises(InvalidTar, match="too many members"):
        tree_of({f"f{number}": b"" for number in range(200)})
    with pytest.raises(InvalidTar, match="too many members"):
        tree_of({"f": b""}, xattrs={b"user.a": b"x" * 100_000})
    with pytest.raises(InvalidTar, match="too many members"):
        tree_of({"/".join(["d"] * 200): b""})


def test_links_to_a_directory_multiply_nothing():
    tree = tree_of({"f": b"", **{f"l{number}": "." for number in range(20)}})
    assert len(match(tree, "*/*/*/*/*/*/*/*/*/*/*/f")) == 20
    assert len(match(tree, "*/*/*/*/*/*/*/*/*/*/*")) == 21
    assert match(tree_of({"a/x": b"", "b/x": b"", "c": "a"}), "*/x") == ["a/x", "b/x", "c/x"]


def test_wildcards_try_no_place_twice():
    assert component_pattern("*a" * 500 + "*b").fullmatch("a" * 4000) is None
    assert component_pattern("*a" * 500 + "*b").fullmatch("a" * 4000 + "b") is not None


@pytest.mark.parametrize("link", ["x/" * 3000, "a" * 5000])
def test_paths_and_links_are_as_long_as_the_kernel_takes_them(link):
    tree = tree_of({"l": link, "d": "/".join(["d"] * 2000)})
    for path in ("l", link, "d"):
        with pytest.raises(OSError, match=r"too long|Too many") as raised:
            resolve(tree, path)
        assert raised.value.errno in (errno.ENAMETOOLONG, errno.ELOOP)


class Zeros:
    """A file of zeros without end, but for what reads more than a start of it."""

    def __init__(self) -> None:
        self.given = 0

    def chunks(self, path: str):
        del path
        while True:
            self.given += 1 << 20
            assert self.given <= 16 << 20
            yield b"\0" * (1 << 20)


class CompressedZeros(Zeros):
    """The same, deflated: a few bytes are megabytes."""

    def chunks(self, path: str):
        deflate = zlib.compressobj(wbits=31)
        for chunk in super().chunks(path):
            if data := deflate.compress(chunk):
                yield data


@pytest.mark.parametrize("zeros", [Zeros, CompressedZeros])
def test_zeros_without_end_are_no_archive(zeros):
    assert not is_archive(zeros(), "f")


def test_holes_are_as_long_as_they_say_until_somebody_gives_up():
    checks = 0

    def check() -> None:
        nonlocal checks
        checks += 1
        if checks > 20:
            raise Cancelled("context canceled")

    file = tempfile.TemporaryFile()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo("f")
        member.pax_headers = {"GNU.sparse.map": "0,0", "GNU.sparse.size": str(1 << 60)}
        archive.addfile(member)
    file.flush()
    tree = TarTree(file, check=check)
    assert tree.lstat("f") is not None
    with pytest.raises(Cancelled):
        tree.digest("f")
    with pytest.raises(Cancelled):
        tree.names("")


def test_mounted_trees_are_read_until_somebody_gives_up(tmp_path):
    def check() -> None:
        raise Cancelled("context canceled")

    (tmp_path / "f").write_bytes(b"1")
    tree = MountedTree(os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY), check=check)
    try:
        for work in (lambda: tree.digest("f"), lambda: tree.names("")):
            with pytest.raises(Cancelled):
                work()
    finally:
        tree.close()


async def test_a_build_that_is_given_up_waits_for_its_threads():
    begun, ended = threading.Event(), threading.Event()
    progress = Progress()
    store = LayerStore(assembler=None, snapshots=None, lease=None, now_ns=lambda: 0, progress=progress)  # type: ignore[arg-type]

    def work() -> None:
        begun.set()
        with contextlib.suppress(Cancelled):
            progress.cancel.sleep(60)
        ended.set()

    task = asyncio.ensure_future(store.work(work))
    await asyncio.to_thread(begun.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
