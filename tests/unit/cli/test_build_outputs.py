"""`build --output`: what its words mean, and the result between the engine's messages."""

import base64
import contextlib
import io
import os
import stat
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.cli.build.outputs import Conversation, Output, parse_outputs
from corten.cli.errors import CliError


@pytest.mark.parametrize(
    ("text", "kind", "type_", "dest"),
    [
        ("out", "files", "local", "out"),
        ("./a b/", "files", "local", "./a b/"),
        ("-", "files", "tar", "-"),
        ("type=local,dest=out", "files", "local", "out"),
        ("type=tar,dest=x.tar", "files", "tar", "x.tar"),
        ("type=tar", "files", "tar", "-"),
        ("dest=x,type=oci", "archive", "oci", "x"),
        ('type=oci,"dest=a,b.tar"', "archive", "oci", "a,b.tar"),
        ("type=docker,dest=x", "archive", "docker", "x"),
        ("type=docker,dest=-", "archive", "docker", "-"),
        ("type=docker", "", "docker", ""),
        ("type=image", "", "image", ""),
    ],
)
def test_what_an_output_is(text: str, kind: str, type_: str, dest: str) -> None:
    output = parse_outputs([text])
    assert (output.kind, output.type, output.dest) == (kind, type_, dest)
    assert output.is_stdout == (dest == "-")


def test_without_one_it_is_an_image() -> None:
    assert parse_outputs([]).kind == ""


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["a", "b"], "give one"),
        ([""], "is needed"),
        (["dest=x"], "type is required"),
        (["type=registry"], "'registry' is not supported"),
        (["type=local"], "dest is required"),
        (["type=local,dest=-"], "dest is required"),
        (["type=oci,tar=false,dest=x"], "oci: not supported: tar"),
        (["type=image,push=true"], "image: not supported: push"),
        (["type=image,dest=x"], "not supported: dest"),
        (["type=tar,x"], "invalid value x"),
        (['type=tar,"dest'], "invalid output"),
    ],
)
def test_what_is_none_is_refused(texts: list[str], words: str) -> None:
    with pytest.raises(CliError, match=words):
        parse_outputs(texts)


@given(st.text(alphabet='=,"-abtypedest \n'))
def test_any_text_is_an_output_or_a_clear_refusal(text: str) -> None:
    with contextlib.suppress(CliError):  # and nothing else
        assert parse_outputs([text]).kind in ("", "files", "archive")


def data(content: bytes) -> dict[str, Any]:
    return {"aux": {"Output": base64.b64encode(content).decode()}}


WORD, END = {"stream": "Step"}, {"aux": {"ID": "sha256:1"}}


def test_words_and_data_take_turns() -> None:
    talk = Conversation([WORD, data(b"a"), data(b"b"), END, WORD])
    assert list(talk.words()) == [WORD]
    assert b"".join(talk.data()) == b"ab"
    assert list(talk.words()) == [END, WORD]


@pytest.mark.parametrize("messages", [[], [data(b"a")], [data(b"a"), {"errorDetail": {"message": "gone"}}]])
def test_a_result_that_does_not_end_is_an_error_and_no_file(tmp_path: Path, messages: list[dict[str, Any]]) -> None:
    talk = Conversation([WORD, *messages])
    assert list(talk.words()) == [WORD]
    with pytest.raises(CliError, match=r"gone|middle"):
        Output("tar", str(tmp_path / "x.tar")).write(talk.data())
    assert list(tmp_path.iterdir()) == []


def tar_of(*members: tuple[str, bytes, int, str]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, kind, mode, link in members:
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.linkname, info.devmajor, info.devminor = kind, mode, link, 1, 3
            info.size = 1 if kind == tarfile.REGTYPE else 0
            tar.addfile(info, io.BytesIO(b"x"))
    return file.getvalue()


def unpacked(folder: Path, *members: tuple[str, bytes, int, str]) -> None:
    Output("local", str(folder)).write(iter([tar_of(*members)]))


def test_what_a_directory_gets_has_no_power(tmp_path: Path) -> None:
    unpacked(
        tmp_path / "new/out",
        ("su", tarfile.REGTYPE, 0o6755, ""),
        ("null", tarfile.CHRTYPE, 0o666, ""),
        ("disk", tarfile.BLKTYPE, 0o666, ""),
        ("shared", tarfile.DIRTYPE, 0o2775, ""),
        ("tmp", tarfile.DIRTYPE, 0o1777, ""),
    )
    found = {path.name: stat.S_IMODE(path.lstat().st_mode) for path in (tmp_path / "new/out").iterdir()}
    assert found == {"su": 0o755, "shared": 0o775, "tmp": 0o1777}


@pytest.mark.parametrize(
    "members",
    [
        [("../out", tarfile.REGTYPE, 0o644, "")],
        [("link", tarfile.SYMTYPE, 0o777, "{outside}"), ("link/out", tarfile.REGTYPE, 0o644, "")],
        [("hard", tarfile.LNKTYPE, 0o644, "../outside/kept")],
        [("there/out", tarfile.REGTYPE, 0o644, "")],
    ],
)
def test_nothing_leads_out_of_the_directory(tmp_path: Path, members: list[tuple[str, bytes, int, str]]) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    outside.mkdir()
    folder.mkdir()
    (outside / "kept").write_text("kept")
    (folder / "there").symlink_to(outside)
    with pytest.raises(CliError, match="leads"):
        unpacked(folder, *[(name, kind, mode, link.format(outside=outside)) for name, kind, mode, link in members])
    assert os.listdir(outside) == ["kept"]
    assert (outside / "kept").stat().st_nlink == 1


def test_a_destination_that_cannot_be_is_told_before_the_build(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for type_, dest in (("local", "file"), ("tar", "."), ("oci", "none/x.tar")):
        with pytest.raises(CliError):
            Output(type_, str(tmp_path / dest)).check()


def test_status_messages_among_the_data_do_not_end_it() -> None:
    seen: list[dict[str, Any]] = []
    pieces = [{"aux": {"Output": b"1"}}, {"aux": {"Status": {"vertexes": []}}}, {"aux": {"Output": b"2"}}]
    talk = Conversation([*pieces, {"aux": {"ID": "x"}}], aside=seen.append)
    assert list(talk.words()) == []
    assert b"".join(talk.data()) == b"12"
    assert seen == [pieces[1]]
    assert list(talk.words()) == [{"aux": {"ID": "x"}}]
