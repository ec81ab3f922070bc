"""Git over ssh in builds: OpenSSH's server and agent, keys in files, host keys, and servers that do not answer."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.lab import images
from tests.lab.cache import ensure_tools
from tests.lab.daemon import Daemon, running_daemon
from tests.lab.git_server import Repository, git
from tests.lab.plugins import with_plugins
from tests.lab.ssh_server import SshServer, make_key, ssh_agent

from corten.build.git.ssh_access import HOST_KEYS


@dataclass
class Lab:
    daemon: Daemon
    server: SshServer
    root: Path
    key: Path
    agent: Path

    def repository(self, name: str, **files: str) -> Repository:
        made = Repository(self.root / name)
        made.commit(files)
        return made

    def know(self, *lines: str) -> Path:
        """What the user's ssh knows of hosts."""
        path = self.daemon.root / ".ssh/known_hosts"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(lines))
        return path

    def build(self, dockerfile: str, *flags: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.daemon.corten("build", "-t", "t:1", *flags, "-", input=dockerfile, check=check)

    def fails(self, dockerfile: str, *flags: str) -> str:
        done = self.build(dockerfile, *flags, check=False)
        assert done.returncode == 1, done.stderr
        return done.stderr

    def run(self, command: str) -> str:
        return self.daemon.out("run", "--rm", "--network", "none", "t:1", "sh", "-c", command)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    ensure_tools(git="git", ssh_agent="openssh-client")
    folder = tmp_path_factory.mktemp("ssh")
    root = folder / "home"
    root.mkdir()
    key = make_key(folder / "key")
    with running_daemon() as daemon, SshServer(folder / "server", root, key) as server, ssh_agent(folder, key) as agent:
        with_plugins(daemon)
        daemon.environment["BUILDKIT_PROGRESS"] = "plain"
        daemon.docker("load", "-i", str(images.busybox()))
        yield Lab(daemon, server, root, key, agent)


@pytest.fixture(autouse=True)
def known(lab: Lab) -> Path:
    return lab.know(lab.server.known)


def test_add_by_an_agent_and_by_a_key_in_a_file(lab: Lab) -> None:
    url = lab.server.url(lab.repository("add", a="by an agent").path)
    lab.build(f"FROM busybox\nADD {url} /src\n", "--ssh", f"default={lab.agent}")
    assert lab.run("cat /src/a; ls -A /src") == "by an agenta"
    url = lab.server.url(lab.repository("file", a="by a file").path)
    lab.build(f"FROM busybox\nADD {url} /src\n", "--ssh", f"default={lab.key}")
    assert lab.run("cat /src/a") == "by a file"


def test_paths_are_one_word_for_the_servers_shell(lab: Lab) -> None:
    name = "it's $(touch owned) `x` !"
    lab.repository(name, a="quoted")
    for path in (f"{lab.root}/{name}", f"/~/{name}"):
        url = lab.server.url(path)
        lab.daemon.corten("build", "--no-cache", "-t", "t:1", "--ssh", f"default={lab.agent}", "--build-arg", f"URL={url.replace(' ', '%20')}", "-", input="FROM busybox\nARG URL\nADD $URL /src\n")  # fmt: skip
        assert lab.run("cat /src/a") == "quoted"
    assert not (lab.root / "owned").exists()


def test_contexts_named_ones_and_submodules(lab: Lab) -> None:
    inner = lab.repository("inner", b="of a submodule")
    outer = lab.repository("outer", Dockerfile="FROM busybox\nCOPY . /c\nCOPY --from=other b /o\n", a="1")
    (outer.path / ".gitmodules").write_text('[submodule "sub"]\n\tpath = sub\n\turl = ../inner\n')
    outer.git("add", ".gitmodules")
    outer.git("update-index", "--add", "--cacheinfo", f"160000,{git(inner.path, 'rev-parse', 'HEAD')},sub")
    outer.git("commit", "-q", "-m", "s")
    url, other = lab.server.url(outer.path), f"other={lab.server.url(inner.path)}"
    flags = ("-t", "t:1", "--build-context", other, "--ssh", f"default={lab.agent}", url)
    lab.daemon.corten("build", *flags)
    assert lab.run("cat /c/sub/b /o") == "of a submoduleof a submodule"
    lab.daemon.docker("build", "--secret", f"id={HOST_KEYS},src={lab.know(lab.server.known)}", "--no-cache", *flags)
    assert lab.run("cat /c/sub/b /o") == "of a submoduleof a submodule"


def test_buildx_forwards_agents_and_keys(lab: Lab, known: Path, tmp_path: Path) -> None:
    url = lab.server.url(lab.repository("buildx", a="by buildx").path)
    (tmp_path / "Dockerfile").write_text(f"FROM busybox\nADD {url} /src\n")
    for number, source in enumerate((lab.agent, lab.key)):
        flags = ("--ssh", f"default={source}", "--secret", f"id={HOST_KEYS},src={known}", "-t", "t:1", str(tmp_path))
        (lab.root / "buildx/a").write_text(f"by buildx {number}")
        git(lab.root / "buildx", "commit", "-qam", "c")
        lab.daemon.docker("build", *flags)
        assert lab.run("cat /src/a") == f"by buildx {number}"
    failed = lab.daemon.docker("build", "--no-cache", "--ssh", f"default={lab.agent}", str(tmp_path), check=False)
    assert "the host key of 127.0.0.1 is not known" in failed.stderr


def test_a_commit_that_is_kept_needs_no_server(lab: Lab) -> None:
    repository = lab.repository("kept", a="kept")
    text = f"FROM busybox\nADD {lab.server.url(repository.path)}#{repository.git('rev-parse', 'HEAD')} /src\n"
    lab.build(text, "--ssh", f"default={lab.agent}")
    logins = lab.server.logins()
    lab.build(text, "--no-cache")
    assert (lab.run("cat /src/a"), lab.server.logins()) == ("kept", logins)


def test_nobody_logs_in_where_the_host_is_not_the_one_that_is_known(lab: Lab, tmp_path: Path) -> None:
    text = f"FROM busybox\nADD {lab.server.url(lab.repository('hosts', a='1').path)} /src\n"
    agent = ("--ssh", f"default={lab.agent}")
    other = make_key(tmp_path / "other").with_suffix(".pub").read_text()
    logins = lab.server.logins()
    lab.know(f"[127.0.0.1]:{lab.server.port} {other}")
    assert "the host key of 127.0.0.1 is not the one that is known" in lab.fails(text, *agent)
    lab.know(lab.server.known, f"@revoked {lab.server.known}")
    assert "the host key of 127.0.0.1 is not the one that is known" in lab.fails(text, *agent)
    lab.know("")
    assert "the host key of 127.0.0.1 is not known" in lab.fails(text, *agent)
    assert lab.server.logins() == logins
    lab.know(f"169.254.169.254 {other}")
    assert "builds may not fetch from this address" in lab.fails(
        "FROM busybox\nADD ssh://169.254.169.254/x /y\n", *agent
    )


def test_agents_that_are_not_there_or_have_other_keys(lab: Lab, tmp_path: Path) -> None:
    text = f"FROM busybox\nADD {lab.server.url(lab.repository('agents', a='1').path)} /src\n"
    assert "git over ssh needs an agent of the client's, and it forwards none" in lab.fails(text)
    other = make_key(tmp_path / "other")
    assert "takes none of the agent's keys for git" in lab.fails(text, "--ssh", f"default={other}")
    with ssh_agent(tmp_path) as empty:
        assert "the client's agent has no keys" in lab.fails(text, "--ssh", f"default={empty}")
    missing = text.replace("/agents ", "/nothere ")
    assert "remote error" in lab.fails(missing, "--ssh", f"default={lab.agent}")


def test_a_build_that_is_given_up_hangs_up_on_a_silent_server(lab: Lab) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(30)
        port = listener.getsockname()[1]
        lab.know(lab.server.known.replace(str(lab.server.port), str(port)))
        source = Path(__file__).resolve().parents[2] / "src/corten/__main__.py"
        argv = [
            sys.executable,
            "-I",
            "-S",
            str(source),
            "-H",
            lab.daemon.host,
            "build",
            "--ssh",
            f"default={lab.key}",
            "-",
        ]
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, env=lab.daemon.environment)
        assert process.stdin is not None
        process.stdin.write(f"FROM busybox\nADD ssh://127.0.0.1:{port}/x /y\n".encode())
        process.stdin.close()
        with listener.accept()[0] as server:
            server.settimeout(30)
            assert server.recv(4) == b"SSH-"
            process.send_signal(signal.SIGKILL)
            process.wait()
            while server.recv(1 << 16):
                pass


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"SSH-2.0-x\r\n" + b"\xff" * 4096,
        b"SSH-1.5-old\r\n",
        b"\0" * (1 << 20),
    ],
    ids=["nothing", "web", "garbage", "old", "zeros"],
)
def test_servers_that_speak_something_else_are_told(lab: Lab, said: bytes) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(30)
        port = listener.getsockname()[1]

        def serve() -> None:
            with listener.accept()[0] as server, suppress(OSError):
                server.sendall(said)

        thread = threading.Thread(target=serve)
        thread.start()
        lab.know(lab.server.known.replace(str(lab.server.port), str(port)))
        text = f"FROM busybox\nADD ssh://127.0.0.1:{port}/x /y\n"
        try:
            assert "failed to fetch remote ssh://127.0.0.1" in lab.fails(text, "--ssh", f"default={lab.key}")
        finally:
            thread.join()
    assert lab.daemon.is_running()
