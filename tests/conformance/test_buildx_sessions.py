"""What docker build asks and is asked for over its session: files there and back, secrets, agents, named contexts."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import socket
import subprocess
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from tests.lab import images
from tests.lab.daemon import Daemon, docker_cli, running_daemon
from tests.lab.plugins import with_plugins

from corten.testing.registry import FakeRegistry

_WAIT_S = 120


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with running_daemon() as engine:
        with_plugins(engine)
        engine.docker("load", "-i", str(images.busybox()))
        yield engine


def build(daemon: Daemon, context: Path | str, *flags: str, dockerfile: str = "", **options: object) -> str:
    """What the client printed of a build that went well."""
    if dockerfile:
        Path(context, "Dockerfile").write_text(dockerfile)
    result = daemon.docker("build", "--progress=plain", *flags, str(context), **options)
    assert not any((daemon.exec_root / "build").glob("*"))
    return result.stderr


def failing(daemon: Daemon, context: Path, dockerfile: str, *flags: str) -> str:
    (context / "Dockerfile").write_text(dockerfile)
    result = daemon.docker("build", "--progress=plain", *flags, str(context), check=False)
    assert result.returncode == 1
    return result.stderr


def run(daemon: Daemon, *command: str) -> str:
    return daemon.out("run", "--rm", "--network", "none", "t:1", *command)


def sent(daemon: Daemon) -> int:
    """The bytes of all that was ever sent and is kept, in packs."""
    return sum(path.stat().st_size for path in (daemon.data_root / "build-contexts").glob("*/pack-*"))


def test_a_context_arrives_as_it_is(daemon: Daemon, tmp_path: Path) -> None:
    context = tmp_path / "as it is"
    (context / "dir/deep").mkdir(parents=True)
    (context / "a").write_text("a\n")
    (context / "dir/größe 文件").write_text("name\n")
    (context / "dir/link").symlink_to("../a")
    (context / "dir/out").symlink_to("/etc/passwd")
    os.link(context / "a", context / "hard")
    (context / "dir/deep/kept").write_text("kept\n")
    (context / "dir/deep/gone").write_text("gone\n")
    (context / "tool").write_text("#!/bin/sh\n")
    (context / "tool").chmod(0o4755)
    (context / ".dockerignore").write_text("# not sent\ndir/deep\n!dir/deep/kept\n*.tmp\n")
    (context / "x.tmp").write_text("x" * 100_000)
    build(daemon, context, "-t", "t:1", dockerfile="FROM busybox\nCOPY . /c/\nCOPY dir/größe* /named/\n")
    found = run(
        daemon,
        "sh",
        "-c",
        "cd /c; find . | sort; readlink dir/link; readlink dir/out; cat dir/gr*; stat -c %a tool; echo /named/*",
    )
    assert found.split("\n") == [
        ".", "./.dockerignore", "./Dockerfile", "./a", "./dir", "./dir/deep", "./dir/deep/kept", "./dir/größe 文件",
        "./dir/link", "./dir/out", "./hard", "./tool", "../a", "/etc/passwd", "name", "4755", "/named/größe 文件",
    ]  # fmt: skip
    assert run(daemon, "sh", "-c", "stat -c '%i %h' /c/a; stat -c '%i %h' /c/hard").splitlines()[0].endswith(" 2")


def test_only_what_has_changed_is_sent(daemon: Daemon, tmp_path: Path) -> None:
    context = tmp_path / "changes"
    context.mkdir()
    for number in range(3000):
        folder = context / f"d{number % 30}"
        folder.mkdir(exist_ok=True)
        (folder / f"f{number}").write_text(f"file {number}\n")
    with open(context / "big", "wb") as file:
        for number in range(200):
            file.write(number.to_bytes(4, "big") * (1 << 18))
    small = "FROM busybox\nCOPY . /c/\n"
    before = sent(daemon)
    build(daemon, context, "-t", "t:1", dockerfile=small)
    first = sent(daemon)
    assert first - before > 200 << 20
    assert run(daemon, "sh", "-c", "find /c -type f | wc -l; sha256sum < /c/big; cat /c/d7/f37").split()[0] == "3002"
    assert "CACHED" in build(daemon, context, "-t", "t:1")
    assert sent(daemon) == first
    (context / "d7/f37").write_text("changed!\n")
    (context / "d8/f38").unlink()
    output = build(daemon, context, "-t", "t:1")
    assert "CACHED" not in output.partition("COPY")[2].partition("DONE")[0]
    assert 0 < sent(daemon) - first < 64
    assert run(daemon, "sh", "-c", "cat /c/d7/f37; ls /c/d8/f38 2>&1 | wc -l; cat /c/d9/f39").split("\n") == [
        "changed!", "1", "file 39",
    ]  # fmt: skip
    assert re.search(r"source\.local\s", daemon.out("system", "df", "-v"))
    assert re.search(r"Type:\s+source\.local", daemon.out("buildx", "du", "--verbose"))
    daemon.docker("builder", "prune", "-f", "--filter", "type=source.local")
    assert not list((daemon.data_root / "build-contexts").iterdir())
    assert run(daemon, "cat", "/c/d7/f37") == "changed!"


def test_dockerfiles_and_contexts_come_on_standard_input(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("of the directory\n")
    build(daemon, tmp_path, "-t", "t:1", "-f", "-", input="FROM busybox\nCOPY f /f\n")
    assert run(daemon, "cat", "/f") == "of the directory"
    build(daemon, "-", "-t", "t:1", input="FROM busybox\nRUN echo alone > /f\n")
    assert run(daemon, "cat", "/f") == "alone"
    (tmp_path / "Dockerfile").write_text("FROM busybox\nCOPY . /c/\n")
    (tmp_path / ".dockerignore").write_text("skipped\n")
    (tmp_path / "skipped").write_text("x")
    for kind in ("", "gz"):
        archive = tmp_path.parent / "context.tar"
        with tarfile.open(archive, f"w:{kind}", format=tarfile.GNU_FORMAT) as tar:  # buildx knows no pax header first
            tar.add(tmp_path, ".")
        with open(archive, "rb") as file:
            build(daemon, "-", "-t", "t:1", stdin=file)
        archive.unlink()
        assert run(daemon, "sh", "-c", "cat /c/f; ls /c").split("\n") == ["of the directory", "Dockerfile", "f"]


def test_dockerfiles_elsewhere_links_and_wildcards_are_followed_by_the_client(daemon: Daemon, tmp_path: Path) -> None:
    context = tmp_path / "context"
    for name in ("dockers", "real/sub", "other"):
        (context / name).mkdir(parents=True)
    for name in ("real/one.txt", "real/sub/two.txt", "other/three.txt", "other/four.md", "kept"):
        (context / name).write_text(f"{name}\n")
    (context / "link").symlink_to("real")
    (context / "dockers/App").write_text(
        "FROM busybox\nCOPY link/ /dir/\nCOPY */*.txt /texts/\nCOPY --parents o*/**/*.md /p/\n"
        "RUN --mount=source=link/sub,target=/m cp /m/two.txt /\nCOPY . /all/\n"
    )
    (context / "dockers/App.dockerignore").write_text("kept\n")
    (context / "dockers/Linked").symlink_to("App")
    for name in ("App", "Linked"):
        build(daemon, context, "-t", "t:1", "-f", str(context / "dockers" / name))
        found = run(daemon, "sh", "-c", "cd /; find dir texts p two.txt all/kept | sort").split("\n")
        assert found[-1] == "two.txt"
        assert [line for line in found if "." in line] == [
            "dir/one.txt", "dir/sub/two.txt", "p/other/four.md", "texts/one.txt", "texts/three.txt", "two.txt",
        ]  # fmt: skip
        assert ("all/kept" in found) == (name == "Linked")


def test_results_come_back_as_files_and_as_a_tar(daemon: Daemon, tmp_path: Path) -> None:
    context = tmp_path / "context"
    context.mkdir()
    (context / "größe").write_text("1\n")
    dockerfile = (
        "FROM busybox AS made\nRUN mkdir -p /out/d && cd /out && echo x > d/x && ln -s x d/link && ln d/x hard && "
        "head -c 300000 /dev/zero > zeros && chmod 0711 d && chmod 640 zeros\nFROM scratch\nCOPY --from=made /out /\n"
        "COPY größe /\n"
    )
    before = daemon.out("images", "-aq")
    build(daemon, context, "-o", str(tmp_path / "out"), dockerfile=dockerfile)
    out = tmp_path / "out"
    assert sorted(os.fspath(path.relative_to(out)) for path in out.rglob("*")) == [
        "d", "d/link", "d/x", "größe", "hard", "zeros",
    ]  # fmt: skip
    assert os.readlink(out / "d/link") == "x"
    assert (out / "d/x").read_text() == (out / "hard").read_text() == "x\n"
    assert (out / "zeros").read_bytes() == bytes(300_000)
    assert ((out / "d").stat().st_mode & 0o7777, (out / "zeros").stat().st_mode & 0o7777) == (0o711, 0o640)
    build(daemon, context, "-o", f"type=tar,dest={tmp_path}/out.tar")
    with tarfile.open(tmp_path / "out.tar") as tar:
        assert {name.strip("./") for name in tar.getnames()} - {""} == {"d", "d/link", "d/x", "größe", "hard", "zeros"}
    assert daemon.out("images", "-aq") == before


def test_named_contexts_are_directories_with_their_own_ignore_files(daemon: Daemon, tmp_path: Path) -> None:
    for name in ("main", "lib"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").write_text(f"of {name}\n")
    (tmp_path / "lib/skipped").write_text("x")
    (tmp_path / "lib/.dockerignore").write_text("skipped\n.dockerignore\n")
    build(
        daemon, tmp_path / "main", "-t", "t:1", "--build-context", f"lib={tmp_path / 'lib'}",
        dockerfile="FROM busybox\nCOPY f /main\nCOPY --from=lib . /lib/\nRUN --mount=from=lib,target=/m cp /m/f /bound\n",
    )  # fmt: skip
    assert run(daemon, "sh", "-c", "cat /main /bound; ls /lib").split("\n") == ["of main", "of lib", "f"]


# -- secrets

_VALUE = "s3cret-" + "0123456789abcdef" * 4


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "of the user"
    path.write_text(_VALUE)
    return path


@pytest.fixture
def context(tmp_path: Path) -> Path:
    path = tmp_path / "context"
    path.mkdir()
    return path


def test_secrets_are_files_and_variables_of_one_step(daemon: Daemon, context: Path, secret: Path) -> None:
    flags = ("-t", "t:1", "--secret", f"id=a,src={secret}", "--secret", "id=b,env=B_SECRET")
    daemon.environment["B_SECRET"] = "second"
    try:
        build(
            daemon, context, *flags,
            dockerfile="FROM busybox\nWORKDIR /w\n"
            "RUN --mount=type=secret,id=a,required wc -c < /run/secrets/a > /length; stat -c '%a %u %g' /run/secrets/a >> /length\n"
            "RUN --mount=type=secret,id=b,target=f,mode=0440,uid=3,gid=4 cat f; stat -c '%a %u %g' f > /modes; "
            "echo x >> f || echo refused > /refused\n"
            "RUN --mount=type=secret,id=a,env=A --mount=type=secret,id=b,env=B,target=/both "
            "test ${#A} = 71 && test $B = $(cat /both) && test ! -e /run/secrets/a\n"
            "RUN test -z \"$A$B\" && test ! -e /run/secrets && test ! -e f && test ! -e /both\n"
            "RUN --mount=type=secret,id=missing --mount=type=secret,id=missing,env=M test -z \"$M\" -a ! -e /run/secrets\n",
        )  # fmt: skip
    finally:
        del daemon.environment["B_SECRET"]
    assert run(daemon, "cat", "/length", "/modes", "/refused").split("\n") == ["71", "400 0 0", "440 3 4", "refused"]


def test_a_secret_is_no_part_of_the_cache_key(daemon: Daemon, context: Path, secret: Path) -> None:
    dockerfile = "FROM busybox\nRUN --mount=type=secret,id=a wc -c /run/secrets/a > /n\n"
    flags = ("-t", "t:1", "--secret", f"id=a,src={secret}")
    build(daemon, context, *flags, dockerfile=dockerfile)
    secret.write_text("another")
    assert "CACHED" in build(daemon, context, *flags)
    assert "CACHED" in build(daemon, context)


def test_what_is_required_and_not_there_is_told_in_buildkits_words(daemon: Daemon, context: Path) -> None:
    for mount, words in (
        ("secret,id=a,required", "ERROR: failed to solve: secret a: not found"),
        ("secret,id=a,env=A,required=true", "ERROR: failed to solve: secret a: not found"),
        ("ssh,required", "ERROR: failed to solve: unset ssh forward key default"),
    ):
        assert words in failing(daemon, context, f"FROM busybox\nRUN --mount=type={mount} true\n")
    assert "DONE" in build(
        daemon,
        context,
        dockerfile="FROM busybox\nRUN --mount=type=ssh test ! -e /run/buildkit\n",
    )


def holders(value: str, *roots: Path) -> list[str]:
    """The files that hold a text."""
    command = ["grep", "-rlaF", "-D", "skip", "-e", value, *map(str, roots)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()


def test_a_secret_is_nowhere_but_in_the_step(context: Path, secret: Path) -> None:
    with running_daemon("--debug") as daemon:
        with_plugins(daemon)
        daemon.docker("load", "-i", str(images.busybox()))
        mounts = "--mount=type=secret,id=a --mount=type=secret,id=a,env=A"
        flags = ("-t", "t:1", "--secret", f"id=a,src={secret}")
        use = "test $(cat /run/secrets/a) = $A"
        build(daemon, context, *flags, dockerfile=f"FROM busybox\nRUN {mounts} {use} && echo done > /done\n")
        with pytest.raises(AssertionError):
            assert holders(_VALUE, daemon.root, secret) == []  # the search finds what is there
        assert holders(_VALUE, daemon.root) == []
        told = [
            daemon.out("history", "--no-trunc", "t:1"),
            daemon.out("inspect", "t:1"),
            daemon.out("system", "df", "-v"),
        ]
        told.append(daemon.out("events", "--since", "10m", "--until", "0s"))
        failing(daemon, context, f"FROM busybox\nRUN {mounts} {use} && exit 3\n", *flags)
        assert holders(_VALUE, daemon.root) == []

        (context / "Dockerfile").write_text(f"FROM busybox\nRUN {mounts} {use} && echo at work && sleep 600\n")
        argv = [docker_cli(), "-H", daemon.host, "build", "--progress=plain", *flags, str(context)]
        with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, env=daemon.environment) as client:
            assert client.stderr is not None
            assert any(re.search(r"^#\d+ [\d.]+ at work$", line) for line in client.stderr)
            process = Path(f"/proc/{daemon.pid}")
            for name in ("cmdline", "environ"):
                assert _VALUE.encode() not in (process / name).read_bytes()
            [cid] = daemon.out("ps", "-q", "--no-trunc").split() or [""]
            told += [daemon.out("inspect", cid)] if cid else []
            daemon.kill()
            client.kill()
        [home] = (daemon.exec_root / "build").iterdir()
        assert holders(_VALUE, daemon.root) == [os.fspath(home / "fs/secret.0")]  # a tmpfs, until the next daemon
        daemon.start()
        assert holders(_VALUE, daemon.root) == []
        assert not any((daemon.exec_root / "build").glob("*"))
        assert all(_VALUE not in text for text in told)


# -- agents


@contextmanager
def agent(path: Path) -> Iterator[list[bytes]]:
    """An ssh agent with one key, as far as `ssh-add -l` asks (draft-ietf-sshm-ssh-agent); what it was asked."""
    asked: list[bytes] = []
    key = b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + b"k" * 32
    answer = b"\x0c\0\0\0\x01" + len(key).to_bytes(4, "big") + key + b"\0\0\0\x07comment"

    def serve(client: socket.socket) -> None:
        with client:
            while request := client.recv(5):
                asked.append(request)
                client.sendall(len(answer).to_bytes(4, "big") + answer)

    def listen() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(client,), daemon=True).start()

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(path))
        listener.listen(16)
        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        try:
            yield asked
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(_WAIT_S)


_ASK = """
import os, socket, stat, sys
path = sys.argv[1] if len(sys.argv) > 1 else os.environ["SSH_AUTH_SOCK"]
def ask():
    client = socket.socket(socket.AF_UNIX)
    client.connect(path)
    client.sendall(b"\\0\\0\\0\\1\\x0b")
    size = int.from_bytes(client.recv(4, socket.MSG_WAITALL), "big")
    return client, client.recv(size, socket.MSG_WAITALL)
kept = [ask() for _ in range(3)]
assert all(b"ssh-ed25519" in answer for _, answer in kept)
status = os.stat(path)
print("agent:", path, oct(stat.S_IMODE(status.st_mode)), status.st_uid, status.st_gid)
"""


def test_an_agent_of_the_client_answers_in_the_step(daemon: Daemon, context: Path, tmp_path: Path) -> None:
    daemon.docker("load", "-i", str(images.python()), timeout=300)
    (context / "ask.py").write_text(_ASK)
    short = Path("/tmp") / f"corten-agent-{os.getpid()}"
    with agent(short) as asked:
        try:
            daemon.environment["SSH_AUTH_SOCK"] = str(short)
            output = build(
                daemon, context, "-t", "t:1", "--ssh", "default", "--ssh", f"other={short}",
                dockerfile="FROM python:3.11\nCOPY ask.py /\nRUN --mount=type=ssh,required python3 /ask.py\n"
                "RUN --mount=type=ssh,id=other,target=/s/agent,mode=0666,uid=7,gid=8 python3 /ask.py /s/agent\n"
                "RUN test ! -e /run/buildkit -a ! -e /s -a -z \"$SSH_AUTH_SOCK\"\n",
            )  # fmt: skip
        finally:
            daemon.environment.pop("SSH_AUTH_SOCK", None)
            short.unlink()
    assert "agent: /run/buildkit/ssh_agent.0 0o600 0 0" in output
    assert "agent: /s/agent 0o666 7 8" in output
    assert len(asked) == 6


# -- credentials


def test_credentials_of_the_client_open_a_registry_and_are_kept_nowhere(context: Path) -> None:
    password = "passw0rd-of-a-registry-4711"
    with FakeRegistry(tokens=True, users={"u": password}) as registry, running_daemon("--debug") as daemon:
        with_plugins(daemon)
        registry.add_image("lab/private", "1", files=[{"f": b"private"}])
        dockerfile = f"FROM {registry.host}/lab/private:1\nLABEL a=b\n"
        assert "ERROR" in failing(daemon, context, dockerfile)
        config = Path(daemon.environment["DOCKER_CONFIG"]) / "config.json"
        auth = base64.b64encode(f"u:{password}".encode()).decode()
        config.write_text(json.dumps({"auths": {registry.host: {"auth": auth}}}))
        assert "DONE" in build(daemon, context, "-t", "t:1")
        config.unlink()
        assert daemon.inspect("t:1")["Config"]["Labels"] == {"a": "b"}
        assert holders(password, daemon.root) == []
        assert holders(auth, daemon.root) == []


# -- ends


def coming(daemon: Daemon) -> int:
    """How many bytes of a transfer that goes on have come: they are in a file without a name."""
    found = 0
    for fd in Path(f"/proc/{daemon.pid}/fd").iterdir():
        with suppress(OSError):
            if f"{daemon.data_root}/build-contexts/#" in os.readlink(fd):
                found = max(found, fd.stat().st_blocks * 512)
    return found


@pytest.mark.parametrize("end", ["client", "daemon"])
def test_a_transfer_that_is_cut_leaves_nothing(context: Path, end: str) -> None:
    with running_daemon() as daemon:
        with_plugins(daemon)
        daemon.docker("load", "-i", str(images.busybox()))
        (context / "Dockerfile").write_text("FROM busybox\nCOPY . /c/\n")
        (context / "a").write_text("a")
        with open(context / "endless", "wb") as file:
            file.truncate(64 << 30)  # far more than is sent until the end
        argv = [docker_cli(), "-H", daemon.host, "build", "--progress=plain", str(context)]
        with subprocess.Popen(
            argv, stderr=subprocess.DEVNULL, env=daemon.environment, start_new_session=True
        ) as client:
            deadline = time.monotonic() + _WAIT_S
            while coming(daemon) < 1 << 20:
                assert time.monotonic() < deadline
                assert client.poll() is None
                time.sleep(0.01)
            if end == "daemon":
                daemon.kill()
            os.killpg(client.pid, signal.SIGKILL)
        if end == "daemon":
            daemon.start()
        while coming(daemon):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert not list((daemon.data_root / "build-contexts").iterdir())
        (context / "endless").unlink()
        assert "DONE" in build(daemon, context)
        assert len(list((daemon.data_root / "build-contexts").iterdir())) == 1
