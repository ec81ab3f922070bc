"""`--ssh NAME=KEYFILE`: the agent in the client's process, as OpenSSH's own programs see it, and hostile peers."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.lab.cache import ensure_tools

from corten.build.local import agent_messages as wire
from corten.cli.build.key_agent import KeyAgent
from corten.cli.errors import CliError

KINDS = {
    "ed25519": ["-t", "ed25519"],
    "ecdsa": ["-t", "ecdsa", "-b", "384"],
    "rsa": ["-t", "rsa", "-b", "2048"],
    "pem": ["-t", "rsa", "-b", "2048", "-m", "PEM"],
    "pkcs8": ["-t", "ecdsa", "-m", "PKCS8"],
}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    ensure_tools(ssh_keygen="openssh-client")
    folder = tmp_path_factory.mktemp("keys")
    for name, flags in {**KINDS, "locked": ["-t", "ed25519"]}.items():
        passphrase = "secret" if name == "locked" else ""
        subprocess.run(["ssh-keygen", "-q", *flags, "-N", passphrase, "-C", name, "-f", folder / name], check=True)
    return {name: folder / name for name in (*KINDS, "locked")}


@contextmanager
def listening(agent: KeyAgent, path: Path) -> Iterator[dict[str, str]]:
    """The agent behind a socket's name, for programs; the environment that they need."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            while True:
                try:
                    sock, _ = listener.accept()
                except OSError:
                    return
                agent._serve(sock)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield {"SSH_AUTH_SOCK": str(path), "PATH": "/usr/bin:/bin", "HOME": str(path.parent)}
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def ask(agent: KeyAgent, *messages: bytes) -> list[bytes]:
    with socket.socket(fileno=agent.connect().detach()) as sock:
        found = []
        for message in messages:
            sock.sendall(wire.framed(message))
            length = wire.length_of(sock.recv(4, socket.MSG_WAITALL))
            found.append(sock.recv(length, socket.MSG_WAITALL))
        return found


def test_openssh_lists_the_keys_and_takes_their_signatures(keys: dict[str, Path], tmp_path: Path) -> None:
    agent = KeyAgent([str(keys[name]) for name in KINDS])
    (tmp_path / "text").write_text("signed\n")
    with listening(agent, tmp_path / "agent") as environment:
        listed = subprocess.run(["ssh-add", "-L"], env=environment, check=True, capture_output=True, text=True).stdout
        for name in KINDS:
            public = keys[name].with_suffix(".pub")
            kind, blob, _comment = public.read_text().split(maxsplit=2)
            assert f"{kind} {blob} {keys[name]}" in listed
            # ssh-keygen asks the agent for the signature by a public key, and checks one that it reads
            argv = ["ssh-keygen", "-Y", "sign", "-n", "file", "-f", str(public), str(tmp_path / "text")]
            subprocess.run(argv, env=environment, check=True, capture_output=True)
            (tmp_path / "allowed").write_text(f"me {kind} {blob}\n")
            argv = ["ssh-keygen", "-Y", "verify", "-n", "file", "-f", str(tmp_path / "allowed"), "-I", "me"]
            with (tmp_path / "text").open("rb") as text:
                subprocess.run([*argv, "-s", str(tmp_path / "text.sig")], stdin=text, check=True, capture_output=True)
            (tmp_path / "text.sig").unlink()
        for change in (["-D"], ["-x"], ["-d", str(keys["ed25519"])]):
            refused = subprocess.run(
                ["ssh-add", *change], env=environment, input=b"p\np\n", capture_output=True, check=False
            )
            assert refused.returncode != 0


def test_what_is_no_request_for_keys_or_signatures_is_refused(keys: dict[str, Path]) -> None:
    agent = KeyAgent([str(keys["ed25519"]), str(keys["rsa"])])
    ((ed25519, _), (rsa, _)) = wire.parse_identities(ask(agent, bytes([wire.REQUEST_IDENTITIES]))[0])
    sha1 = wire.sign_request(rsa, b"x", 0)
    unknown = wire.sign_request(b"nobody's", b"x", 0)
    short = wire.sign_request(ed25519, b"x", 0)[:-3]
    extension, add, lock = bytes([27]) + wire.string(b"session-bind@openssh.com"), b"\x11", b"\x16"
    answers = ask(agent, sha1, unknown, short, extension, add, lock, wire.sign_request(rsa, b"x", 2))
    assert answers[:-1] == [wire.FAILURE] * 6
    assert b"rsa-sha2-256" in wire.parse_signature(answers[-1])
    for head in (b"\0\0\0\0", b"\xff\xff\xff\xff"):
        with socket.socket(fileno=agent.connect().detach()) as sock:
            sock.sendall(head)
            assert sock.recv(1) == b""


def test_keys_that_cannot_be_used_are_told(keys: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(CliError, match="has a passphrase") as caught:
        KeyAgent([str(keys["locked"])])
    assert "ssh-add" in (caught.value.hint or "")
    with pytest.raises(CliError, match="failed to parse"):
        KeyAgent([str(keys["rsa"].with_suffix(".pub"))])
    with pytest.raises(CliError, match="no such file"):
        KeyAgent([str(tmp_path / "none")])


@given(st.binary(max_size=300))
def test_any_bytes_are_a_message_or_none(data: bytes) -> None:
    for parse in (wire.parse_identities, wire.parse_sign_request, wire.parse_signature):
        try:
            parse(data)
        except wire.BadMessage:
            continue


@given(st.lists(st.tuples(st.binary(max_size=40), st.binary(max_size=40)), max_size=5), st.integers(0, 2**80))
def test_messages_are_read_as_they_were_written(keys: list[tuple[bytes, bytes]], number: int) -> None:
    assert wire.parse_identities(wire.identities_answer(keys)) == keys
    assert wire.parse_sign_request(wire.sign_request(b"k", b"data", 4)) == (b"k", b"data", 4)
    raw = wire.Fields(wire.mpint(number)).string()
    assert int.from_bytes(raw, "big", signed=True) == number
