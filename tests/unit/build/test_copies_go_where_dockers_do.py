"""Sources and destinations of COPY by Docker's rules, on trees without any file system."""

from __future__ import annotations

import pytest
from tests.unit.build.trees import copied, tree_of

from corten.build.copying.layer import Attributes, LayerPlan
from corten.build.copying.mode import ModeChange
from corten.build.copying.select import SourceNotFound, digest, select
from corten.build.operations import Copy, Source
from corten.build.trees.tree import EmptyTree, match, resolve
from corten.errors import Conflict, InvalidArgument

CONTEXT = {
    "a.txt": b"a", "b.txt": b"b", "dir": None, "dir/sub": None, "dir/sub/c": b"c", "dir/d": b"d",
    "to-dir": "dir", "out": "../../../etc/passwd", "abs": "/dir/d", "loop": "loop",
}  # fmt: skip


def copy(*sources: str, to: str, **fields: object) -> Copy:
    return Copy(sources=tuple(Source(path=path) for path in sources), destination=to, **fields)


@pytest.mark.parametrize(
    ("sources", "to", "files"),
    [
        (["a.txt"], "/x", ["x"]),
        (["a.txt"], "/x/", ["x", "x/a.txt"]),
        (["a.txt"], "/", ["a.txt"]),
        (["a.txt", "b.txt"], "/x/", ["x", "x/a.txt", "x/b.txt"]),
        (["?.txt"], "/x/", ["x", "x/a.txt", "x/b.txt"]),
        (["dir"], "/x", ["x", "x/d", "x/sub", "x/sub/c"]),
        (["dir/"], "/x/", ["x", "x/d", "x/sub", "x/sub/c"]),
        (["dir/*"], "/x/", ["x", "x/c", "x/d"]),
        (["to-dir"], "/x", ["x", "x/d", "x/sub", "x/sub/c"]),
        (["to-dir/sub/c"], "/x", ["x"]),
        (["abs"], "/x/", ["x", "x/abs"]),
        (["/dir/../a.txt"], "/x", ["x"]),
        (["../../a.txt"], "/x", ["x"]),
    ],
)
def test_files_are_where_docker_puts_them(sources, to, files):
    assert sorted(copied(copy(*sources, to=to), tree_of(CONTEXT))) == files


def test_links_inside_a_directory_stay_links():
    found = copied(copy(".", to="/x/"), tree_of(CONTEXT))
    assert (found["x/out"].kind, found["x/out"].link) == ("symlink", b"../../../etc/passwd")


@pytest.mark.parametrize("source", ["nope", "out", "dir/nope", "*.nope", "nope/*", "a.txt/b"])
def test_a_missing_source_is_an_error(source):
    with pytest.raises(SourceNotFound):
        copied(copy(source, to="/x"), tree_of(CONTEXT))


def test_a_link_to_itself_is_an_error():
    with pytest.raises(OSError, match="Too many levels"):
        copied(copy("loop", to="/x"), tree_of(CONTEXT))


def test_several_files_need_a_directory():
    with pytest.raises(InvalidArgument, match="must be a directory and end with a /"):
        copied(copy("a.txt", "b.txt", to="/x"), tree_of(CONTEXT))
    with pytest.raises(InvalidArgument, match="must be a directory and end with a /"):
        copied(copy("?.txt", to="/x"), tree_of(CONTEXT))


def test_a_file_goes_into_a_directory_that_exists():
    target = tree_of({"x": None})
    assert sorted(copied(copy("a.txt", to="/x"), tree_of(CONTEXT), target)) == ["x", "x/a.txt"]


def test_destinations_follow_the_links_of_the_target_and_stay_in_it():
    target = tree_of({"usr": None, "usr/bin": None, "bin": "usr/bin", "esc": "/../../usr"})
    assert sorted(copied(copy("a.txt", to="/bin/"), tree_of(CONTEXT), target)) == ["usr", "usr/bin", "usr/bin/a.txt"]
    assert sorted(copied(copy("a.txt", to="/esc/n/"), tree_of(CONTEXT), target)) == ["usr", "usr/n", "usr/n/a.txt"]


def test_a_directory_of_the_target_keeps_its_attributes_and_a_new_one_does_not_get_the_sources():
    target = tree_of({"x": None}, mode=0o1777, uid=7)
    source = tree_of({"dir": None, "dir/f": b""}, mode=0o750, uid=9)
    found = copied(copy("dir", to="/x"), source, target)
    assert (found["x"].mode, found["x"].uid) == (0o1777, 7)
    found = copied(copy("dir", to="/y"), source, target)
    assert (found["y"].mode, found["y"].uid) == (0o755, 0)


@pytest.mark.parametrize(
    ("target", "source", "to"),
    [
        ({"x": b""}, "dir", "/x"),
        ({"x": b""}, "a.txt", "/x/"),
        ({"x": None, "x/sub": b""}, "dir", "/x"),
        ({"x": None, "x/sub": "/tmp"}, "dir", "/x"),
        ({"x": None, "x/d": None}, "dir", "/x"),
    ],
)
def test_files_and_directories_do_not_replace_each_other(target, source, to):
    with pytest.raises(Conflict):
        copied(copy(source, to=to), tree_of(CONTEXT), tree_of(target))


def test_owner_and_mode_are_those_asked_for_and_times_the_sources():
    source = tree_of({"f": b"", "l": "f", "late": b""}, uid=5, mtime_ns=3 * 10**9)
    found = copied(copy(".", to="/x/"), source, owner=(1, 2), mode=ModeChange(absolute=0o700))
    assert {(entry.uid, entry.gid) for entry in found.values()} == {(1, 2)}
    assert (found["x/f"].mode, found["x/f"].mtime_ns) == (0o700, 3 * 10**9)
    assert copied(copy("f", to="/x"), source)["x"].uid == 0


def test_names_that_mean_deletions_are_refused():
    with pytest.raises(InvalidArgument, match="mean deleted files"):
        copied(copy(".", to="/x/"), tree_of({".wh.passwd": b""}))
    for destination in ("/.wh.etc/", "/.wh.etc/a", "/a/.wh.b/c"):
        with pytest.raises(InvalidArgument, match="mean deleted files"):
            copied(copy("f", to=destination), tree_of({"f": b""}))


def test_the_digest_tells_content_mode_and_names_but_no_times():
    def of(content, source="dir", **fields):
        selection = select(copy(source, to="/"), [EmptyTree(), tree_of(content, **fields)], keeps_owner=[True, False])
        return digest(selection.taken)

    plain = {"dir": None, "dir/f": b"1"}
    assert of(plain) == of(plain, mtime_ns=5) == of(plain, uid=7)
    others = [of({"dir": None, "dir/f": b"2"}), of({"dir": None, "dir/g": b"1"}), of(plain, mode=0o700)]
    assert len({of(plain), *others, of({"dir": None, "dir/f": "1"})}) == 5


def test_an_empty_plan_is_told_as_such():
    plan = LayerPlan(tree_of({"app": None}), Attributes())
    plan.make_directory("app")
    assert plan.is_empty
    plan.make_directory("app/new")
    assert not plan.is_empty


def test_a_path_as_deep_as_the_limit_is_no_deep_recursion():
    deep = "/".join(["d"] * 2000)
    plan = LayerPlan(EmptyTree(), Attributes())
    plan.make_directory(deep)
    assert resolve(EmptyTree(), deep) == deep


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*", ["a1", "a2", "b", "c*"]), ("a*", ["a1", "a2"]), ("a[0-1]", ["a1"]), ("a[^1]", ["a2"]),
        ("?", ["b"]), ("c\\*", ["c*"]), ("[b-c]", ["b"]), ("nope*", []), ("b/..", [""]), ("[a-b]?", ["a1", "a2"]),
    ],
)  # fmt: skip
def test_patterns_match_as_gos_do(pattern, found):
    tree = tree_of({"a1": b"", "a2": b"", "b": None, "c*": b""})
    assert match(tree, pattern) == [name or pattern for name in found]


@pytest.mark.parametrize("pattern", ["[", "[]", "[a", "[-a]", "[a-]", "a\\"])
def test_patterns_that_are_none_are_refused(pattern):
    with pytest.raises(InvalidArgument, match="syntax error in pattern"):
        match(tree_of({"a": b""}), f"{pattern}*" if pattern != "a\\" else pattern)
