"""buildx with contexts that the daemon fetches: git repositories, archives, and a Dockerfile of the client's for one."""

from __future__ import annotations

import functools
import http.server
import io
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.lab import images
from tests.lab.daemon import Daemon, running_daemon
from tests.lab.git_server import GitServer, Repository
from tests.lab.plugins import with_plugins


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    engine = Daemon()
    (engine.root / "daemon.json").write_text('{"builder": {"sources": {"allow": ["127.0.0.0/8"]}}}')
    with running_daemon(engine=engine):
        with_plugins(engine)
        engine.docker("load", "-i", str(images.busybox()))
        yield engine


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a repository with a Dockerfile in a directory."""
    root = tmp_path_factory.mktemp("git")
    Repository(root / "r.git").commit({"sub/Dockerfile": "FROM busybox\nCOPY f /f\n", "sub/f": "of git\n"})
    with GitServer(root) as git:
        yield f"{git.url}/r.git"


def said(daemon: Daemon, image: str) -> str:
    return daemon.out("run", "--rm", "--network", "none", image, "cat", "/f")


def test_a_directory_of_a_repository(daemon: Daemon, repository: str) -> None:
    daemon.docker("build", "-t", "git:1", f"{repository}#:sub")
    assert said(daemon, "git:1") == "of git"


def test_a_dockerfile_of_the_client_for_a_repository(daemon: Daemon, repository: str) -> None:
    daemon.docker("build", "-t", "git:2", "-f", "-", f"{repository}#:sub", input="FROM busybox\nRUN echo own > /f\n")
    assert said(daemon, "git:2") == "own"


def test_a_named_context_that_is_a_repository(daemon: Daemon, repository: str, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM busybox\nCOPY --from=there sub/f /f\n")
    daemon.docker("build", "-t", "git:3", "--build-context", f"there={repository}", str(tmp_path))
    assert said(daemon, "git:3") == "of git"


def test_an_archive_on_a_web_server(daemon: Daemon, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "c.tar.gz", "w:gz") as tar:
        for name, text in (("Dockerfile", b"FROM busybox\nCOPY f /f\n"), ("f", b"of the web\n")):
            info = tarfile.TarInfo(name)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text))
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            daemon.docker("build", "-t", "web:1", f"http://127.0.0.1:{server.server_address[1]}/c.tar.gz")
        finally:
            server.shutdown()
            thread.join()
    assert said(daemon, "web:1") == "of the web"


def test_what_the_policy_forbids_is_said(daemon: Daemon) -> None:
    failed = daemon.docker("build", "http://169.254.169.254/c.tar.gz", check=False)
    assert failed.returncode == 1
    assert "169.254.169.254" in failed.stderr.splitlines()[-1]
