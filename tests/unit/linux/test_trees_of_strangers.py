"""Walking and removing trees that are deep, hostile, or changed meanwhile."""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import shutil
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from corten.linux.tree import remove_tree, usage, walk

_DEPTH = 20_000
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, _DIRECTORY)
    yield fd
    os.close(fd)


def open_files(tmp_path: Path) -> list[str]:
    """What this process has open in the tree: descriptors of other tests come and go when they like."""
    found = []
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the listing's own
            found.append(os.readlink(f"/proc/self/fd/{fd}"))
    return sorted(path for path in found if path.startswith(str(tmp_path)))


def dig(root: int, name: str, depth: int) -> None:
    os.mkdir(name, dir_fd=root)
    fd = os.open(name, _DIRECTORY, dir_fd=root)
    for _ in range(depth - 1):
        os.mkdir("d", dir_fd=fd)
        child = os.open("d", _DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd = child
    os.close(os.open("bottom", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    os.close(fd)


def test_a_walk_names_everything_once_and_in_order(tmp_path: Path, root: int) -> None:
    for path in ("b/c/d", "b/e", "a", "f/g"):
        (tmp_path / path).mkdir(parents=True)
    (tmp_path / "b/c/file").write_text("12345")
    (tmp_path / "b/link").symlink_to("c")
    found = [entry.path.decode() for entry in walk(root)]
    assert found == ["a", "b", "b/c", "b/c/d", "b/c/file", "b/e", "b/link", "f", "f/g"]
    assert usage(root) == len("12345") + len("c")


def test_a_walk_stays_out_where_it_is_told(tmp_path: Path, root: int) -> None:
    (tmp_path / "in/x").mkdir(parents=True)
    (tmp_path / "out/x").mkdir(parents=True)
    found = [entry.path for entry in walk(root, enters=lambda path, crossing: path != b"out" and not crossing)]
    assert found == [b"in", b"in/x", b"out"]


def test_deep_trees_are_walked_measured_and_removed_with_few_descriptors(tmp_path: Path, root: int) -> None:
    dig(root, "deep", _DEPTH)
    gc.collect()  # what earlier tests have left open must not be closed in between
    highest = max(map(int, os.listdir("/proc/self/fd")))
    before, limits = open_files(tmp_path), resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 64, limits[1]))
    tracemalloc.start()
    try:
        assert usage(root) == 0
        last = b""
        for entry in walk(root):
            last = entry.path
        assert last == b"deep" + b"/d" * (_DEPTH - 1) + b"/bottom"
        remove_tree("deep", dir_fd=root)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert os.listdir(root) == []
    assert open_files(tmp_path) == before
    assert peak < 50 << 20


@pytest.mark.parametrize("depth", [3, 100])
def test_a_directory_moved_meanwhile_ends_the_walk_and_leads_nowhere(tmp_path: Path, root: int, depth: int) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "elsewhere/secret").mkdir(parents=True)
    inside = os.open("tree", _DIRECTORY, dir_fd=root)
    before = open_files(tmp_path)
    dig(inside, "a", depth)
    seen = list[bytes]()

    def go() -> None:
        for entry in walk(inside):
            seen.append(entry.path)
            if entry.name == b"bottom":
                middle = "/".join(["a", *["d"] * (depth - 2)])
                os.rename(tmp_path / "tree" / middle / "d", tmp_path / "elsewhere/d")

    if depth > 32:
        with pytest.raises(OSError, match="changed during the walk"):
            go()
    else:
        go()
    assert open_files(tmp_path) == before
    assert not any(b"secret" in path for path in seen)
    os.close(inside)


def test_what_vanishes_or_turns_into_a_link_is_passed_by(tmp_path: Path, root: int) -> None:
    for name in ("a", "b/inside", "c", "d"):
        (tmp_path / "tree" / name).mkdir(parents=True)
    (tmp_path / "canary").mkdir()
    (tmp_path / "canary/secret").touch()
    inside = os.open("tree", _DIRECTORY, dir_fd=root)
    seen = []
    for entry in walk(inside):
        seen.append(entry.path)
        if entry.name == b"a":
            shutil.rmtree(tmp_path / "tree/b")
        if entry.name == b"c":
            (tmp_path / "tree/c").rmdir()
            (tmp_path / "tree/c").symlink_to(tmp_path / "canary")
    os.close(inside)
    assert seen == [b"a", b"c", b"d"]


def test_removing_follows_no_link(tmp_path: Path, root: int) -> None:
    (tmp_path / "canary").mkdir()
    (tmp_path / "canary/secret").touch()
    (tmp_path / "tree/sub").mkdir(parents=True)
    (tmp_path / "tree/sub/link").symlink_to(tmp_path / "canary")
    os.mkfifo(tmp_path / "tree/fifo")
    remove_tree("tree", dir_fd=root)
    remove_tree("tree", dir_fd=root)
    (tmp_path / "top").symlink_to(tmp_path / "canary")
    remove_tree(b"top", dir_fd=root)
    assert os.listdir(root) == ["canary"]
    assert (tmp_path / "canary/secret").exists()
