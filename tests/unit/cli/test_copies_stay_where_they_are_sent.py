"""`cp`: names follow Docker's rules, and an archive from a container cannot write outside its destination."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from corten.cli.copy.naming import Entry, destination, renamed, split_argument
from corten.cli.copy.pack import pack
from corten.cli.copy.unpack import Stream, unpack
from corten.cli.errors import CliError


def _archive(*members: tuple[str, str, str]) -> Iterator[bytes]:
    """(name, kind, content or target)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, kind, content in members:
            info = tarfile.TarInfo(name)
            info.mode = 0o755 if kind == "dir" else 0o640
            if kind == "file":
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content.encode()))
                continue
            info.type = {
                "dir": tarfile.DIRTYPE,
                "link": tarfile.SYMTYPE,
                "hard": tarfile.LNKTYPE,
                "fifo": tarfile.FIFOTYPE,
            }[kind]
            info.linkname = content
            archive.addfile(info)
    data = buffer.getvalue()
    return iter([data[position : position + 700] for position in range(0, len(data), 700)])


@pytest.mark.parametrize(
    "members",
    [
        [("../evil", "file", "x")],
        [("d/../../evil", "file", "x")],
        [("d", "link", ".."), ("d/evil", "file", "x")],
        [("d", "link", "/"), ("d/tmp/evil", "file", "x")],
        [("h", "hard", "../secret")],
        [("d", "link", ".."), ("h", "hard", "d/secret")],
    ],
)
def test_nothing_is_written_or_linked_outside(tmp_path: Path, members: list[tuple[str, str, str]]) -> None:
    (tmp_path / "secret").write_text("s")
    inside = tmp_path / "inside"
    inside.mkdir()
    with pytest.raises((CliError, OSError)):
        unpack(Stream(_archive(*members)), str(inside), "", "")
    assert sorted(os.listdir(tmp_path)) == ["inside", "secret"]
    assert os.stat(tmp_path / "secret").st_nlink == 1


def test_a_link_of_the_archive_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("old")
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "x").symlink_to("../target")
    unpack(Stream(_archive(("x", "file", "new"))), str(inside), "", "")
    assert (inside / "x").read_text() == "new"
    assert (tmp_path / "target").read_text() == "old"


def test_what_is_packed_unpacks_the_same(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "sub/empty").mkdir(parents=True)
    (source / "a").write_bytes(b"x" * 300_000)
    (source / "sub/link").symlink_to("../a")
    os.link(source / "a", source / "hard")
    os.chmod(source / "a", 0o604)
    os.utime(source / "sub", (1000000000, 1000000000))
    pieces: list[bytes] = []
    pack(str(source), "source", "copy", pieces.append)
    out = tmp_path / "out"
    out.mkdir()
    unpack(Stream(iter(pieces)), str(out), "", "")
    copy = out / "copy"
    assert (copy / "a").read_bytes() == b"x" * 300_000
    assert os.stat(copy / "a").st_mode & 0o777 == 0o604
    assert os.readlink(copy / "sub/link") == "../a"
    assert os.stat(copy / "hard").st_ino == os.stat(copy / "a").st_ino
    assert int(os.stat(copy / "sub").st_mtime) == 1000000000
    assert (copy / "sub/empty").is_dir()


_FILE, _FOLDER = Entry("/s/name"), Entry("/s/name", is_folder=True)


@pytest.mark.parametrize(
    ("source", "target", "where"),
    [
        (_FILE, Entry("/d", is_folder=True), ("/d", "", "")),
        (_FOLDER, Entry("/d", is_folder=True), ("/d", "", "")),
        (_FILE, Entry("/d/new", exists=False), ("/d", "name", "new")),
        (_FOLDER, Entry("/d/new", exists=False), ("/d", "name", "new")),
        (_FILE, Entry("/d/old"), ("/d", "name", "old")),
        (Entry("/s/name/.", is_folder=True), Entry("/d/new", exists=False), ("/d", ".", "new")),
        (Entry("/s/x", rebase="y"), Entry("/d/new", exists=False), ("/d", "y", "new")),
    ],
)
def test_where_a_copy_lands(source: Entry, target: Entry, where: tuple[str, str, str]) -> None:
    assert destination(source, target) == where


@pytest.mark.parametrize(("source", "target"), [(_FOLDER, Entry("/d/file")), (_FILE, Entry("/d/new/", exists=False))])
def test_copies_that_make_no_sense_are_refused(source: Entry, target: Entry) -> None:
    with pytest.raises(CliError):
        destination(source, target)


def test_members_are_renamed_by_their_first_part_only() -> None:
    assert renamed("a/a/b", "a", "x") == "x/a/b"
    assert renamed("ab", "a", "x") == "ab"
    assert renamed("./q/r", ".", "x") == "x/q/r"
    assert renamed(".", ".", "x") == "x"


@pytest.mark.parametrize(
    ("text", "parts"),
    [("c:/x", ("c", "/x")), ("./a:b", ("", "./a:b")), ("/a:b", ("", "/a:b")), ("-", ("", "-")), ("x", ("", "x"))],
)
def test_a_colon_names_a_container(text: str, parts: tuple[str, str]) -> None:
    assert split_argument(text) == parts
