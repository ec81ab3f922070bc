"""`build --output`: what its words mean, and the result between the engine's messages."""

import base64
import contextlib
import io
import json
import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.cli.build.attests import attests_query
from corten.cli.build.conversation import Conversation
from corten.cli.build.outputs import TYPES, Output, parse_outputs
from corten.cli.build.written import merged
from corten.cli.errors import CliError


@pytest.mark.parametrize(
    ("text", "type_", "dest", "attributes"),
    [
        ("out", "local", "out", {}),
        ("./a b/", "local", "./a b/", {}),
        ("-", "tar", "-", {}),
        ("type=local,dest=out,platform-split=false", "local", "out", {"platform-split": "false"}),
        ("type=tar,dest=x.tar", "tar", "x.tar", {}),
        ("type=tar", "tar", "-", {}),
        ("dest=x,type=oci", "oci", "x", {}),
        ('type=oci,"dest=a,b.tar"', "oci", "a,b.tar", {}),
        ("type=oci,dest=x,tar=false,compression=zstd", "oci", "x", {"compression": "zstd"}),
        ("type=docker,dest=x", "docker", "x", {}),
        ("type=docker,dest=-", "docker", "-", {}),
        ("type=docker", "image", "", {}),
        ("type=image", "image", "", {}),
        ('type=image,"name=a,b",push=true', "image", "", {"name": "a,b", "push": "true"}),
        ("type=registry,annotation-Index.Key=v", "registry", "", {"annotation-Index.Key": "v"}),
        ("type=cacheonly", "cacheonly", "", {}),
    ],
)
def test_what_an_output_is(text: str, type_: str, dest: str, attributes: dict[str, str]) -> None:
    (output,) = parse_outputs([text]).entries
    assert (output.type, output.dest, output.attributes) == (type_, dest, attributes)
    assert output.is_stdout == (dest == "-")
    assert output.is_tree == ("tar=false" in text)


def test_without_one_it_is_an_image() -> None:
    assert json.loads(parse_outputs([]).query()) == [{"Type": "image", "Attrs": {}}]


def test_push_and_load_add_to_what_is_asked_for() -> None:
    def said(*texts: str, **flags: bool) -> list[tuple[str, str]]:
        found = parse_outputs(texts, **flags)
        return [(entry.type, entry.attributes.get("push", "")) for entry in found.entries]

    assert said(push=True) == [("image", "true")]
    assert said("type=registry", push=True, load=True) == [("registry", "true"), ("image", "")]
    assert said("out", load=True) == [("local", ""), ("image", "")]
    assert said("type=image,name=x", "out", load=True) == [("image", ""), ("local", "")]
    assert said(load=True) == [("image", "")]


def test_annotations_are_attributes_of_images_and_layouts() -> None:
    found = parse_outputs(
        ["out", "type=oci,dest=x,annotation-manifest.a=own", "type=image"],
        annotations=["a=1", "index,manifest-descriptor[linux/arm64]:b=c=d", "index:org.x/y=z"],
    )
    assert found.entries[0].attributes == {}
    assert found.entries[2].attributes == {
        "annotation-manifest.a": "1", "annotation-index.b": "c=d",
        "annotation-manifest-descriptor[linux/arm64].b": "c=d", "annotation-index.org.x/y": "z",
    }  # fmt: skip
    assert found.entries[1].attributes["annotation-manifest.a"] == "own"
    for wrong in ("a", "nowhere:a=b", "=b"):
        with pytest.raises(CliError, match="annotation"):
            parse_outputs([], annotations=[wrong])


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ([""], "is needed"),
        (["dest=x"], "type is required"),
        (["type=ipfs"], "'ipfs' is not supported"),
        (["type=local"], "dest is required"),
        (["type=local,dest=-"], "dest is required"),
        (["type=oci,tar=false"], "dest is required for an unpacked oci output"),
        (["type=image,dest=x"], "not supported: dest"),
        (["type=tar,x"], "invalid value x"),
        (['type=tar,"dest'], "invalid output"),
    ],
)
def test_what_is_none_is_refused(texts: list[str], words: str) -> None:
    with pytest.raises(CliError, match=words):
        parse_outputs(texts)


def test_only_one_can_go_to_standard_output() -> None:
    with pytest.raises(CliError, match="only one output"):
        parse_outputs(["-", "type=oci"]).check()


@given(st.text(alphabet='=,"-abtypedest \n'))
def test_any_text_is_an_output_or_a_clear_refusal(text: str) -> None:
    with contextlib.suppress(CliError):  # and nothing else
        assert parse_outputs([text]).entries[0].type in TYPES


@pytest.mark.parametrize(
    ("attests", "provenance", "sbom", "found"),
    [
        ([], None, None, ""),
        ([], "true", "false", '{"provenance":"","sbom":"disabled=true"}'),
        ([], "mode=max", None, '{"provenance":"mode=max"}'),
        (["type=provenance,mode=max", "type=sbom"], "min", None, '{"provenance":"min","sbom":""}'),
        (["type=provenance,mode=max,builder-id=x"], None, None, '{"provenance":"mode=max,builder-id=x"}'),
    ],
)
def test_what_shall_be_said_of_an_image(
    attests: list[str], provenance: str | None, sbom: str | None, found: str
) -> None:
    assert attests_query(attests, provenance, sbom) == found


@pytest.mark.parametrize("attests", [["sbom"], ["type=vsa"], ["type=sbom", "type=sbom"], ['type="sbom']])
def test_wrong_words_about_attestations_are_refused(attests: list[str]) -> None:
    with pytest.raises(CliError):
        attests_query(attests, None, None)


def test_an_engines_output_can_be_of_several(tmp_path: Path) -> None:
    def of(number: int, content: bytes) -> dict[str, Any]:
        return {"aux": {"Output": base64.b64encode(content).decode(), "Number": number}}

    talk = Conversation([WORD, of(0, b"a"), of(0, b"b"), of(2, b"c"), WORD, END])
    assert list(talk.words()) == [WORD]
    assert talk.number == 0
    assert b"".join(talk.data()) == b"ab"
    assert list(talk.words()) == []
    assert talk.number == 2
    Output("tar", {}, str(tmp_path / "x")).write(talk.data())
    assert (tmp_path / "x").read_bytes() == b"c"
    assert list(talk.words()) == [WORD, END]
    assert talk.number is None


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
        Output("tar", {}, str(tmp_path / "x.tar")).write(talk.data())
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
    Output("local", {}, str(folder)).write(iter([tar_of(*members)]))


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
            Output(type_, {}, str(tmp_path / dest)).check()


def layout(*names: str) -> bytes:
    """A layout's tar whose index has these names."""
    entries = [{"digest": f"sha256:{n}", "annotations": {"org.opencontainers.image.ref.name": n}} for n in names]
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, content in (("index.json", json.dumps({"manifests": entries})), ("manifest.json", "[]")):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content.encode()))
        info = tarfile.TarInfo(f"blobs/sha256/{names[0]}")
        tar.addfile(info)
    return file.getvalue()


def test_a_layout_is_added_to_the_one_that_is_there(tmp_path: Path) -> None:
    out = Output("oci", {}, str(tmp_path / "out"), is_tree=True)
    out.write(iter([layout("one")]))
    out.write(iter([layout("two", "one")]))
    found = json.loads((tmp_path / "out/index.json").read_text())
    assert [entry["digest"] for entry in found["manifests"]] == ["sha256:two", "sha256:one"]
    assert sorted(path.name for path in (tmp_path / "out").rglob("*")) == [
        "blobs",
        "index.json",
        "one",
        "sha256",
        "two",
    ]
    Output("docker", {}, str(tmp_path / "docker"), is_tree=True).write(iter([layout("one")]))
    assert (tmp_path / "docker/manifest.json").exists()


def test_a_layout_keeps_its_images_when_the_next_one_breaks_off(tmp_path: Path) -> None:
    out = Output("oci", {}, str(tmp_path), is_tree=True)
    out.write(iter([layout("one")]))
    before = json.loads((tmp_path / "index.json").read_text())

    def broken() -> Iterator[bytes]:
        yield layout("two")
        raise CliError("the engine went away")

    with pytest.raises(CliError, match="went away"):
        out.write(broken())
    assert json.loads((tmp_path / "index.json").read_text()) == before
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".tmp")] == []


def test_a_layout_is_not_written_through_links_nor_made_of_what_is_none(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    for path in (outside, folder):
        path.mkdir()
    (outside / "index.json").write_text('{"manifests": []}')
    out = Output("oci", {}, str(folder), is_tree=True)
    (folder / "index.json").symlink_to(outside / "index.json")
    with pytest.raises(CliError, match="cannot be read"):
        out.write(iter([layout("x")]))
    (folder / "index.json").unlink()
    (folder / "blobs").symlink_to(outside)
    with pytest.raises(CliError, match="not a folder"):
        out.write(iter([layout("x")]))
    (folder / "blobs").unlink()
    (folder / "index.json").write_text("[]")
    with pytest.raises(CliError, match="is no index"):
        out.write(iter([layout("x")]))
    assert (outside / "index.json").read_text() == '{"manifests": []}'
    assert os.listdir(outside) == ["index.json"]


def test_a_name_is_in_an_index_once() -> None:
    def entry(digest: str, name: str = "") -> dict[str, Any]:
        return {"digest": digest, **({"annotations": {"io.containerd.image.name": name}} if name else {})}

    before = {"schemaVersion": 2, "manifests": [entry("1", "a"), entry("2"), entry("3", "c")], "x": 1}
    found = merged(before, {"manifests": [entry("4", "a"), entry("2")]})
    assert [one["digest"] for one in found["manifests"]] == ["3", "4", "2"]
    assert found["x"] == 1


def test_status_messages_among_the_data_do_not_end_it() -> None:
    seen: list[dict[str, Any]] = []
    pieces = [{"aux": {"Output": b"1"}}, {"aux": {"Status": {"vertexes": []}}}, {"aux": {"Output": b"2"}}]
    talk = Conversation([*pieces, {"aux": {"ID": "x"}}], beside=seen.append)
    assert list(talk.words()) == []
    assert b"".join(talk.data()) == b"12"
    assert seen == [pieces[1]]
    assert list(talk.words()) == [{"aux": {"ID": "x"}}]
