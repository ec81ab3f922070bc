"""A client's directory as a tree: what is seen of it, what is not opened, and what happens when it does not stand still."""

from __future__ import annotations

import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from corten.build.copying.select import digest, take
from corten.build.dockerfile.dockerignore import Matcher, Matches, parse_ignore
from corten.build.trees.directory import DirectoryTree
from corten.build.trees.hashes import ContextHashes, HashMemory
from corten.build.trees.listings import ContextChanged, Listing
from corten.build.trees.tree import match, resolve, walk
from corten.errors import Cancelled, CortenError
from corten.linux.acting import ROOT
from corten.linux.tree import remove_tree

Open = Callable[..., DirectoryTree]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "context"
    path.mkdir()
    return path


@pytest.fixture
def opened(root: Path) -> Iterator[Open]:
    """Opens the context; all trees are closed at the end."""
    trees: list[DirectoryTree] = []

    def open_(hashes: ContextHashes | None = None, ignored: bytes | None = None, **options: object) -> DirectoryTree:
        fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        matcher = None if ignored is None else Matcher(parse_ignore(ignored))
        tree = DirectoryTree(fd, ROOT, hashes or ContextHashes(), ignored=matcher, **options)
        trees.append(tree)
        return tree

    before = set(os.listdir("/proc/self/fd"))
    yield open_
    for tree in trees:
        tree.close()
    assert set(os.listdir("/proc/self/fd")) == before


def content(tree: DirectoryTree, path: str) -> bytes:
    return b"".join(tree.chunks(path))


def test_entries_are_seen_without_owners_and_fractions_of_seconds(root: Path, opened: Open) -> None:
    (root / "d").mkdir(mode=0o750)
    (root / "d/f").write_bytes(b"abc")
    os.chmod(root / "d/f", 0o4755)
    os.utime(root / "d/f", ns=(0, 1_234_567_890_987_654_321))
    os.link(root / "d/f", root / "d/g")
    os.symlink("../d/f", root / "d/l")
    os.mkfifo(root / "d/p", 0o600)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(os.fspath(root / "d/s"))
    (root / os.fsdecode(b"\xff\xfe")).write_bytes(b"")
    tree = opened()
    nodes = dict(walk(tree, ""))
    assert sorted(nodes) == ["d", "d/f", "d/g", "d/l", "d/p", os.fsdecode(b"\xff\xfe")]
    assert (nodes["d"].kind, nodes["d"].mode) == ("directory", 0o750)
    file = nodes["d/f"]
    assert (file.kind, file.mode, file.uid, file.gid, file.size) == ("file", 0o4755, 0, 0, 3)
    assert file.mtime_ns == 1_234_567_890_000_000_000
    assert nodes["d/g"] == file
    assert (nodes["d/l"].kind, nodes["d/l"].link) == ("symlink", "../d/f")
    assert (nodes["d/p"].kind, nodes["d/p"].size) == ("fifo", 0)
    assert tree.lstat("nope") is None
    assert tree.lstat("d/f/x") is None


def test_links_are_resolved_in_the_context_and_no_path_goes_through_one(
    root: Path, opened: Open, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (root / "secret").write_bytes(b"own")
    os.symlink("../secret", root / "up")
    os.symlink("/secret", root / "absolute")
    os.symlink(tmp_path, root / "out")
    tree = opened()
    assert content(tree, resolve(tree, "up")) == b"own"
    assert content(tree, resolve(tree, "absolute")) == b"own"
    assert match(tree, "out/*") == []
    assert tree.lstat("out/secret") is None
    with pytest.raises(FileNotFoundError):
        content(tree, "out/secret")


def test_what_is_ignored_is_not_opened(root: Path, opened: Open) -> None:
    for name in ("kept", "ignored", "both"):
        (root / name / "sub").mkdir(parents=True, mode=0o700)
        (root / name / "sub/f").write_bytes(b"")
        (root / name / "sub/x.md").write_bytes(b"")
    tree = opened(ignored=b"ignored\nboth\n!both/sub/f\n**/*.md\n")
    assert [path for path, _ in walk(tree, "")] == ["both", "both/sub", "both/sub/f", "kept", "kept/sub", "kept/sub/f"]
    assert "ignored" not in tree._listings._known
    implicit, real = tree.lstat("both/sub"), tree.lstat("kept/sub")
    assert implicit is not None
    assert real is not None
    assert (implicit.mode, implicit.mtime_ns, real.mode) == (0o755, 0, 0o755 & os.stat(root / "kept/sub").st_mode)


@pytest.mark.parametrize(
    "ignored",
    [b"*", b"*\n!a", b"a\n!a/b/c/*.txt", b"**/c\n!**/1.txt", b"a/*\n!a/b", b"*\n!**/2*", b"a/b/../b/c\n!/a/b/c/d"],
)
def test_a_walk_ignores_what_the_patterns_ignore_one_by_one(root: Path, opened: Open, ignored: bytes) -> None:
    for folder in ("a", "a/b", "a/b/c", "a/b/c/d", "e", "e/c"):
        (root / folder).mkdir()
        for name in ("1.txt", "2.txt", "x"):
            (root / folder / name).write_bytes(b"")
    matcher = Matcher(parse_ignore(ignored))
    files = {os.fspath(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    seen = dict(walk(opened(ignored=ignored), ""))
    assert {path for path, node in seen.items() if node.kind == "file"} == {f for f in files if not matcher.ignores(f)}
    for path, node in seen.items():
        if node.kind == "directory" and matcher.ignores(path):
            assert any(other.startswith(f"{path}/") for other in seen)


def test_a_listing_is_seen_when_it_is_whole(root: Path, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies side by side read one tree: none may see an ignored directory that will turn out to hold nothing."""
    for folder in ("ignored/kept", "ignored/lost", "empty"):
        (root / folder).mkdir(parents=True)
    (root / "ignored/lost/f").touch()
    tree = opened(ignored=b"ignored\n!ignored/kept/x\nempty\n!empty/x\n")
    listings, seen = tree._listings, []
    list_one = listings._list

    def listed(path: str, above: Matches | None) -> Listing:
        seen.append((path, [at for at, known in listings._known.items() if known.implicit]))
        return list_one(path, above)

    monkeypatch.setattr(listings, "_list", listed)
    assert tree.names("") == []
    assert {path for path, _ in seen} >= {"", "empty", "ignored"}
    assert all(unfinished == [] for _path, unfinished in seen)


def test_many_ignored_levels_are_no_recursion(root: Path, opened: Open) -> None:
    at = os.open(root, os.O_RDONLY)
    for _level in range(1500):
        os.mkdir("d", dir_fd=at)
        below = os.open("d", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)
    assert list(walk(opened(ignored=b"d\n!**/kept\n"), "")) == []
    parent = os.open(root, os.O_RDONLY)
    remove_tree("d", dir_fd=parent)
    os.close(parent)


def test_a_tree_holds_what_was_seen_first(root: Path, opened: Open) -> None:
    (root / "f").write_bytes(b"12345")
    tree = opened()
    assert tree.lstat("f") is not None
    (root / "late").write_bytes(b"")
    with open(root / "f", "ab") as file:
        file.write(b"678")
    assert tree.lstat("late") is None
    assert content(tree, "f") == b"12345"


def shrink(path: Path) -> None:
    os.truncate(path, 2)


def remove(path: Path) -> None:
    path.unlink()


def become_a_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


def become_a_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def become_a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def become_another(path: Path) -> None:
    path.rename(path.with_name("old"))
    path.write_bytes(b"12345")


@pytest.mark.parametrize("change", [shrink, remove, become_a_link, become_a_fifo, become_a_directory, become_another])
@pytest.mark.parametrize("folder", ["", "d"])
def test_a_file_that_is_not_what_was_seen_is_an_error(
    root: Path, opened: Open, change: Callable[[Path], None], folder: str
) -> None:
    path = root / folder / "f"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"12345")
    tree = opened()
    name = os.fspath(path.relative_to(root))
    assert tree.lstat(name) is not None
    change(path)
    with pytest.raises(ContextChanged, match=f"^{name}: the file was changed"):
        content(tree, name)
    with pytest.raises(ContextChanged):
        tree.digest(name)


def test_bytes_that_are_not_those_of_the_digest_are_an_error(root: Path, opened: Open) -> None:
    (root / "f").write_bytes(b"12345")
    tree = opened()
    tree.digest("f")
    (root / "f").write_bytes(b"54321")
    with pytest.raises(ContextChanged):
        content(tree, "f")


def test_a_directory_that_became_a_link_is_not_entered(root: Path, opened: Open, tmp_path: Path) -> None:
    (root / "d/e").mkdir(parents=True)
    (root / "d/e/f").write_bytes(b"")
    outside = tmp_path / "outside"
    (outside / "e").mkdir(parents=True)
    (outside / "e/f").write_bytes(b"secret")
    tree = opened()
    assert tree.names("d") == ["e"]
    (root / "d").rename(root / "gone")
    (root / "d").symlink_to(outside)
    with pytest.raises(ContextChanged):
        tree.names("d/e")


def test_a_directory_that_is_opened_again_has_to_be_the_same(root: Path, opened: Open) -> None:
    for number in range(80):  # more than stay open
        (root / f"d{number:02}").mkdir()
        (root / f"d{number:02}/f").write_bytes(b"1")
    tree = opened()
    assert len(list(walk(tree, ""))) == 160
    (root / "d00").rename(root / "old")
    (root / "d00").mkdir()
    os.link(root / "old/f", root / "d00/f")
    with pytest.raises(ContextChanged):
        content(tree, "d00/f")
    assert content(tree, "d01/f") == b"1"


def test_a_tree_that_is_swapped_all_the_time_never_leads_out_nor_lies(root: Path, opened: Open, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    for folder in (root / "d", outside):
        folder.mkdir(exist_ok=True)
        for number in range(20):
            (folder / f"f{number}").write_bytes(b"secret" if folder == outside else b"inside")
    (root / "link").symlink_to(outside)
    over = threading.Event()

    def swap() -> None:
        while not over.is_set():
            os.rename(root / "d", root / "t")
            os.rename(root / "link", root / "d")
            os.rename(root / "d", root / "link")
            os.rename(root / "t", root / "d")

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for _round in range(200):
            tree = opened()
            try:
                for path, node in walk(tree, ""):
                    if node.kind == "file":
                        known = tree.digest(path)
                        data = content(tree, path)
                        assert data == b"inside"
                        assert known == tree.digest(path)
            except ContextChanged:
                continue
            finally:
                tree.close()
                tree._listings._root = os.open("/dev/null", os.O_RDONLY)  # closed again by the fixture
    finally:
        over.set()
        thread.join()


def test_a_walk_ends_when_its_build_is_cancelled(root: Path, opened: Open) -> None:
    (root / "f").write_bytes(b"1")

    def check() -> None:
        raise Cancelled("context canceled")

    with pytest.raises(Cancelled):
        list(walk(opened(check=check), ""))


def test_a_context_with_too_many_files_is_refused(root: Path, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("corten.build.trees.listings._ENTRIES_LIMIT", 3)
    for number in range(4):
        (root / f"f{number}").write_bytes(b"")
    with pytest.raises(CortenError, match="more than 3 files"):
        list(walk(opened(), ""))


def test_a_directory_without_end_is_given_up(root: Path, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("corten.build.trees.listings._ENTRIES_LIMIT", 1000)
    for number in range(3000):
        os.mknod(root / f"f{number}")
    looked: list[str] = []
    monkeypatch.setattr("corten.build.trees.listing.seen", lambda name, _status: looked.append(name) or (name,))
    with pytest.raises(CortenError, match="more than 1000 files"):
        list(walk(opened(), ""))
    assert len(looked) < 2100


def test_a_directory_that_is_gone_when_it_is_opened_again_has_changed(
    root: Path, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("corten.build.trees.listings._OPEN_LIMIT", 1)
    for name in "ab":
        (root / name).mkdir()
        (root / name / "f").write_bytes(b"")
    tree = opened()
    assert [path for path, _node in walk(tree, "")] == ["a", "a/f", "b", "b/f"]
    shutil.rmtree(root / "a")
    for use in (tree.digest, tree.xattrs, lambda path: content(tree, path)):
        with pytest.raises(ContextChanged, match="a"):
            use("a/f")


# -- what is remembered


class Counting(DirectoryTree):
    """Counts the files that are read."""

    reads = 0

    def _opened(self, *arguments):
        Counting.reads += 1
        return super()._opened(*arguments)


class Memory:
    """Builds of one context, each with what the one before has remembered."""

    def __init__(self, root: Path, directory: Path) -> None:
        self._root = root
        self.memory = HashMemory(directory)

    def digest(self, path: str = "", ignored: bytes | None = None) -> tuple[str, int]:
        """The digest, and how many files were read for it."""
        fd = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
        hashes = self.memory.open(fd, 0)
        tree = Counting(fd, ROOT, hashes, ignored=None if ignored is None else Matcher(parse_ignore(ignored)))
        Counting.reads = 0
        try:
            found = digest([take(tree, path, keeps_owner=False)])
        finally:
            tree.close()
        hashes.save()
        return found, Counting.reads


@pytest.fixture
def memory(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Memory:
    """Files are old: the clock is a day ahead of their times."""
    import time

    real = time.clock_gettime_ns
    monkeypatch.setattr(time, "clock_gettime_ns", lambda clock: real(clock) + 86_400_000_000_000)
    for name in ("a", "b", "d/c"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(name.encode())
    return Memory(root, tmp_path / "hashes")


def test_an_unchanged_context_is_not_read(memory: Memory) -> None:
    first, reads = memory.digest()
    assert reads == 3
    assert memory.digest() == (first, 0)
    assert memory.digest("d")[1] == 0  # by the file


def test_of_a_changed_context_only_the_change_is_read(memory: Memory, root: Path) -> None:
    first, _ = memory.digest()
    times = os.stat(root / "a")
    (root / "a").write_bytes(b"A")
    os.utime(root / "a", ns=(times.st_atime_ns, times.st_mtime_ns))  # which its ctime tells
    second, reads = memory.digest()
    assert reads == 1
    assert second != first
    (root / "a").write_bytes(b"a")
    assert memory.digest() == (first, 1)


@pytest.mark.parametrize(
    "change",
    [
        lambda root: os.chmod(root / "a", 0o600),
        lambda root: os.rename(root / "a", root / "z"),
        lambda root: os.symlink("a", root / "l"),
        lambda root: (root / "new").mkdir(),
        lambda root: os.chmod(root / "d", 0o700),
        lambda root: (root / "d/c").unlink(),
    ],
)
def test_any_change_gives_another_digest(memory: Memory, root: Path, change: Callable[[Path], object]) -> None:
    first, _ = memory.digest()
    change(root)
    assert memory.digest()[0] != first


def test_a_touch_and_ignored_files_change_nothing(memory: Memory, root: Path) -> None:
    first, _ = memory.digest(ignored=b"**/*.log\n")
    os.utime(root / "a")
    (root / "d/x.log").write_bytes(b"1")
    assert memory.digest(ignored=b"**/*.log\n")[0] == first
    assert memory.digest()[0] != first


def test_a_file_that_may_change_within_the_tick_is_read_again(root: Path, tmp_path: Path) -> None:
    (root / "f").write_bytes(b"1")
    young = Memory(root, tmp_path / "hashes")
    first, _ = young.digest()
    status = os.stat(root / "f")
    os.utime(root / "f", ns=(status.st_atime_ns, (status.st_mtime_ns // 10**9 + 3600) * 10**9))
    assert young.digest() == (first, 1)
    assert young.digest() == (first, 1)


def test_what_was_recalled_must_still_be_there_when_it_is_read(root: Path, memory: Memory) -> None:
    memory.digest()
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    hashes = memory.memory.open(fd, 0)
    hashes._known().clear()  # as if there had been too many files
    tree = DirectoryTree(fd, ROOT, hashes)
    try:
        digest([take(tree, "", keeps_owner=False)])
        with open(root / "a", "ab") as file:
            file.write(b"more")
        with pytest.raises(ContextChanged):
            tree.digest("a")
    finally:
        tree.close()
