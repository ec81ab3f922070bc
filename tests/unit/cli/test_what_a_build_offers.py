"""`--secret`, `--ssh` and `--build-context`: buildx's words, what is read when the engine asks, and engines that cannot ask."""

from __future__ import annotations

import io
import os
import socket
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.cli.fake_engine import Asked, FakeEngine

from corten.cli.build import session
from corten.cli.build.context import context_of
from corten.cli.errors import CliError
from corten.client.address import parse_address
from corten.client.api import Client

NOTHING: dict[str, Any] = {"secret": [], "ssh": [], "build-context": [], "file": ""}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", os.fspath(tmp_path / "config"))
    (tmp_path / "file").write_bytes(b"value\n")
    return tmp_path


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("id=a,src=file", b"value\n"),
        ("id=a,source=file,type=file", b"value\n"),
        ("ID=a,SRC=file", b"value\n"),
        ("id=a,env=VARIABLE", b"variable"),
        ("id=a,type=env,src=VARIABLE", b"variable"),
        ("id=VARIABLE", b"variable"),
        ("id=file", b"value\n"),
        ("id=a,env=UNSET", b""),
    ],
)
def test_secrets_are_files_and_variables(text: str, value: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VARIABLE", "variable")
    assert session.parse_secret(text).value() == value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("src=file", "secret missing ID"),
        ("id", "invalid field 'id' must be a key=value pair"),
        ("id=a,x=y", "unexpected key 'x' in 'x=y'"),
        ("id=a,type=tpm", 'unsupported secret type "tpm"'),
        ("id=a,src=none", "failed to stat none: stat none: no such file or directory"),
        ('id="a', "failed to parse csv secret"),
    ],
)
def test_secrets_that_are_none_are_refused_in_buildxs_words(text: str, words: str) -> None:
    with pytest.raises(CliError) as caught:
        session.parse_secret(text)
    assert words in caught.value.message


def test_a_large_secret_is_refused_and_not_sent_in_part(folder: Path) -> None:
    (folder / "large").write_bytes(b"x" * (500 << 10))
    assert len(session.parse_secret("id=a,src=large").value()) == 500 << 10
    (folder / "large").write_bytes(b"x" * ((500 << 10) + 1))
    with pytest.raises(CliError, match="secret a too big"):
        session.parse_secret("id=a,src=large").value()


def test_agents_are_sockets(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("agent")
        listener.listen()
        name, connect = session.parse_ssh("default=agent")
        assert name == "default"
        connect().close()
        with pytest.raises(CliError, match="invalid empty ssh agent socket: make sure SSH_AUTH_SOCK is set"):
            session.parse_ssh("default")
        monkeypatch.setenv("SSH_AUTH_SOCK", os.fspath(folder / "agent"))
        assert session.parse_ssh("default")[0] == session.parse_ssh("")[0] == "default"
        for wrong in ("x=agent,agent", "x=agent,file"):
            with pytest.raises(CliError, match=r"only single socket allowed|invalid combination of keys and sockets"):
                session.parse_ssh(wrong)
        offers = session.Offers({**NOTHING, "ssh": ["default", "other=agent"]})
        connected = offers.agent("other")
        assert connected is not None
        connected.close()
        assert offers.agent("third") is None
        with pytest.raises(CliError, match="invalid duplicate ID default"):
            session.Offers({**NOTHING, "ssh": ["default", "default=agent"]})
    with pytest.raises(CliError, match=r"ssh agent default: .*: connection refused"):
        offers.agent("default")
    for wrong in ("x=file", "x=file,file"):
        with pytest.raises(CliError, match=r"ssh: file: failed to parse the key"):
            session.parse_ssh(wrong)
    with pytest.raises(CliError, match="no such file"):
        session.parse_ssh("x=none")


def test_named_contexts() -> None:
    assert session.parse_contexts(["a=dir", "b:latest=docker-image://x", "c=x=y"]) == {
        "a": "dir", "b": "docker-image://x", "c": "x=y",
    }  # fmt: skip
    for wrong in ("a", "=dir"):
        with pytest.raises(CliError, match=r"invalid context value: .*, expected key=value"):
            session.parse_contexts([wrong])
    values = ("dir", "./dir", "docker-image://x", "https://x/y.git", "target:x", "oci-layout://dir", "git@x:y")
    assert [value for value in values if session.is_directory_context(value)] == ["dir", "./dir"]


def test_the_first_login_that_there_is_answers_for_a_registry(folder: Path) -> None:
    (folder / "config").mkdir()
    (folder / "config/config.json").write_text('{"auths": {"reg.example": {"auth": "dTpw"}}}')
    offers = session.Offers(NOTHING)
    found = offers.credentials(["other.example", "reg.example"])
    assert found is not None
    assert (found["username"], found["password"]) == ("u", "p")
    assert offers.credentials(["other.example"]) is None


# -- engines that cannot ask


@pytest.fixture
def engine(folder: Path) -> Iterator[FakeEngine]:
    """An engine as Docker's: it knows no /corten/build."""
    fake = FakeEngine(folder / "engine.sock")
    fake.answers["POST /corten/build"] = (404, {"message": "page not found"})
    fake.answers["POST /build"] = (200, {"stream": "built\n"})
    yield fake
    fake.close()


def asked(engine: FakeEngine) -> Asked:
    return next(request for request in engine.asked if request.path == "/build")


def members(request: Asked) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(request.body)) as archive:
        found = {}
        for member in archive:
            data = archive.extractfile(member) if member.isfile() else None
            found[member.name] = data.read() if data else b""
        return found


def built(engine: FakeEngine, source: str, **values: Any) -> list[dict[str, Any]]:
    client = Client(parse_address(f"unix://{engine.path}"))
    return list(session.messages(client, {**NOTHING, **values}, source, {"t": ["x"], "target": ""}))


def test_another_engine_is_sent_a_tar(engine: FakeEngine, folder: Path) -> None:
    (folder / "context").mkdir()
    (folder / "context/Dockerfile").write_text("FROM x\n")
    (folder / "context/f").write_bytes(b"f")
    os.utime(folder / "context/f", ns=(0, 1_500_000_000))
    assert built(engine, "context") == [{"stream": "built\n"}]
    assert dict(asked(engine).query) == {"t": "x", "dockerfile": "Dockerfile"}
    assert members(asked(engine)) == {"Dockerfile": b"FROM x\n", "f": b"f"}
    with tarfile.open(fileobj=io.BytesIO(asked(engine).body)) as archive:
        assert archive.getmember("f").mtime == 1


def test_a_dockerfile_from_elsewhere_is_in_the_tar_and_kept_out_of_copies(engine: FakeEngine, folder: Path) -> None:
    (folder / "context").mkdir()
    (folder / "context/.dockerignore").write_text("lost")
    (folder / "Elsewhere").write_text("FROM x\n")
    built(engine, "context", file="Elsewhere")
    name = dict(asked(engine).query)["dockerfile"]
    assert name.startswith(".dockerfile.")
    sent = members(asked(engine))
    assert sent[name] == b"FROM x\n"
    assert sent[".dockerignore"] == f"lost\n{name}\n".encode()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"secret": ["id=file"]}, "--secret needs an engine on this machine"),
        ({"build-context": ["more=."]}, "--build-context more=DIRECTORY needs an engine on this machine"),
    ],
)
def test_what_only_a_local_engine_can_ask_for_is_refused(
    engine: FakeEngine, folder: Path, values: dict[str, Any], words: str
) -> None:
    (folder / "Dockerfile").write_text("FROM x\n")
    with pytest.raises(CliError, match=words):
        built(engine, ".", **values)
    assert [request.path for request in engine.asked] == ["/corten/build"]


def test_where_the_dockerfile_is(folder: Path) -> None:
    (folder / "context/sub").mkdir(parents=True)
    for name in ("Dockerfile", "sub/Other"):
        (folder / "context" / name).write_text("FROM x\n")
    (folder / "Elsewhere").write_text("FROM y\n")
    (folder / "Elsewhere.dockerignore").write_text("x\n")
    assert context_of("context", "").dockerfile == "Dockerfile"
    inside = context_of("context", "context/sub/Other")
    assert (inside.dockerfile, inside.texts) == ("sub/Other", {})
    outside = context_of("context", "Elsewhere")
    assert (outside.dockerfile, outside.texts) == ("Elsewhere", {"dockerfile": b"FROM y\n", "ignore": b"x\n"})
    with pytest.raises(CliError, match="Dockerfile path: none not found"):
        context_of("context", "context/none")
    with pytest.raises(CliError, match='path "nowhere" not found'):
        context_of("nowhere", "")
