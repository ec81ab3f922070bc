"""Builds whose files are somewhere else: git repositories, web servers, named contexts; fetched by the daemon."""

from __future__ import annotations

import base64
import hashlib
import http.server
import io
import json
import re
import socket
import sqlite3
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlencode

import docker
import pytest
from tests.lab import images
from tests.lab.daemon import Daemon, running_daemon
from tests.lab.git_server import GitServer, Repository
from tests.lab.plugins import with_plugins

DOCKERFILE = "FROM busybox\nCOPY a /a\n"


class Web:
    """A web server of files in memory: `files` by path, `requests` with their status, `user` whom it asks for."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.redirects: dict[str, str] = {}
        self.requests: list[str] = []
        self.user = ""
        web = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        body = self.files.get(request.path.partition("?")[0])
        etag = f'"{hashlib.sha256(body or b"").hexdigest()}"'
        expected = "Basic " + base64.b64encode(self.user.encode()).decode()
        if self.user and request.headers.get("Authorization") != expected:
            status = 401
        elif request.path in self.redirects:
            status = 302
        elif body is None:
            status = 404
        else:
            status = 304 if request.headers.get("If-None-Match") == etag else 200
        self.requests.append(f"{status} {request.path}")
        request.send_response(status)
        if status == 302:
            request.send_header("Location", self.redirects[request.path])
        request.send_header("ETag", etag)
        data = body if status == 200 and body is not None else b""
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)


class Lab:
    """A daemon, a web server, and a git server for what is below `root`."""

    names: ClassVar[int] = 0

    def __init__(self, daemon: Daemon, web: Web, git: GitServer, root: Path) -> None:
        self.daemon, self.web, self.git, self.root = daemon, web, git, root

    def repository(self, **files: str) -> tuple[Repository, str]:
        """A new repository with a commit of these files, and its URL."""
        Lab.names += 1
        repository = Repository(self.root / f"r{Lab.names}.git")
        repository.commit(files)
        return repository, f"{self.git.url}/r{Lab.names}.git"

    def build(self, dockerfile: str, *flags: str) -> str:
        """`corten build` without a context, as t:1; what it said."""
        done = self.daemon.corten("build", "-t", "t:1", *flags, "-", input=dockerfile)
        return done.stdout + done.stderr

    def fails(self, dockerfile: str, *flags: str) -> str:
        """As `build`, which fails; what it said."""
        done = self.daemon.corten("build", *flags, "-", input=dockerfile, check=False)
        assert done.returncode == 1, done.stdout
        return done.stdout + done.stderr

    def run(self, command: str, image: str = "t:1") -> str:
        return self.daemon.out("run", "--rm", "--network", "none", image, "sh", "-c", command)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    root = tmp_path_factory.mktemp("git")
    with running_daemon() as daemon, GitServer(root) as git:
        daemon.environment["DOCKER_BUILDKIT"] = "0"
        daemon.environment["GIT_CONFIG_COUNT"] = "1"
        daemon.environment |= {"GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}
        daemon.docker("load", "-i", str(images.busybox()))
        web = Web()
        thread = threading.Thread(target=web.server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield Lab(daemon, web, git, root)
        web.server.shutdown()
        thread.join()
        web.server.server_close()


def cached(said: str) -> int:
    """How many instructions the cache had, but for FROM, in plain progress or the classic builder's words."""
    names = re.findall(r"(?m)^#(\d+) \[(?:\S+ +)*\d+/\d+\] (?!FROM)", said)
    return said.count(" ---> Using cache") + sum(f"#{number} CACHED" in said for number in names)


def archive(files: dict[str, str], compression: str = "gz") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=f"w:{compression}") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    return out.getvalue()


# -- ADD


def test_add_of_a_repository_is_fetched_once(lab: Lab) -> None:
    repository, url = lab.repository(a="1", **{"d/b": "2"})
    dockerfile = f"FROM busybox\nADD {url} /src\nADD {url}#main:d /d/\nRUN cat /src/a /d/b > /both\n"
    lab.build(dockerfile)
    assert lab.run("cat /both; find /src /d | sort") == "12/d\n/d/b\n/src\n/src/a\n/src/d\n/src/d/b"
    fetches = lab.git.fetches()
    assert cached(lab.build(dockerfile)) == 3
    assert lab.git.fetches() == fetches + 2  # the refs of each, and no pack
    repository.commit({"a": "3"})
    assert cached(lab.build(dockerfile)) == 0
    assert lab.run("cat /both") == "32"
    repository.commit({"unseen": "x"})
    assert cached(lab.build(f"FROM busybox\nADD {url}#main:d /d/\nRUN true\n")) == 0
    repository.commit({"unseen": "y"})
    assert cached(lab.build(f"FROM busybox\nADD {url}#main:d /d/\nRUN true\n")) == 2  # the same files


def test_add_of_a_commit_that_is_here_asks_nobody(lab: Lab) -> None:
    repository, url = lab.repository(a="1")
    commit = repository.git("rev-parse", "HEAD")
    dockerfile = f"FROM busybox\nADD {url}#{commit} /src\n"
    lab.build(dockerfile)
    lab.git.requests.clear()
    assert cached(lab.build(dockerfile)) == 1
    assert lab.git.requests == []


def test_add_of_a_repository_with_its_git_directory_and_checksum(lab: Lab) -> None:
    repository, url = lab.repository(a="1")
    commit = repository.git("rev-parse", "HEAD")
    lab.build(f"FROM busybox\nADD --keep-git-dir --checksum={commit[:12]} {url} /src\nADD {url} /bare\n")
    assert lab.run("cat /src/.git/HEAD; ls -a /bare").split() == [commit, ".", "..", "a"]
    wrong = lab.fails(f"FROM busybox\nADD --checksum={'0' * 40} {url} /src\n")
    assert f"expected checksum to match {'0' * 40}, got {commit}" in wrong
    assert "repository does not contain ref" in lab.fails(f"FROM busybox\nADD {url}#nope /src\n")
    assert "git over ssh needs an agent of the client's, and it forwards none" in lab.fails(
        "FROM busybox\nADD git@example.com:x.git /src\n"
    )
    assert "line 2: the build has an egress list" in lab.fails(f"FROM busybox\nADD {url} /src\n", "--egress", "none")


def test_an_unchanged_file_is_not_downloaded_again(lab: Lab) -> None:
    lab.web.files["/f"] = b"one"
    dockerfile = f"FROM busybox\nADD {lab.web.url}/f /f\nRUN cat /f\n"
    lab.build(dockerfile)
    lab.web.requests.clear()
    assert cached(lab.build(dockerfile)) == 2
    assert lab.web.requests == ["304 /f"]
    lab.web.files["/f"] = b"two"
    assert cached(lab.build(dockerfile)) == 0
    assert lab.run("cat /f") == "two"
    assert lab.web.requests == ["304 /f", "200 /f"]
    lab.daemon.docker("builder", "prune", "-af")
    lab.build(dockerfile)
    assert lab.web.requests[2:] == ["200 /f"]
    digest = hashlib.sha256(b"two").hexdigest()
    checked = f"FROM busybox\nADD --checksum=sha256:{digest} {lab.web.url}/f /g\n"
    lab.build(checked)
    lab.web.requests.clear()
    assert cached(lab.build(checked)) == 1
    assert lab.web.requests == []


def test_credentials_of_a_url_are_sent_and_stored_nowhere(lab: Lab) -> None:
    secret = "s3cret-of-the-url"
    lab.web.files["/private"] = b"private"
    lab.web.user = f"me:{secret}"
    try:
        url = lab.web.url.replace("//", f"//me:{secret}@")
        output = lab.build(f"FROM busybox\nADD {url}/private /p\n")
        assert lab.run("cat /p") == "private"
        assert "ADD http://xxxxx:xxxxx@127.0.0.1" in output
        assert "401" in lab.fails(f"FROM busybox\nADD {lab.web.url}/private /q\n")
        missing = lab.daemon.corten("build", "-", input=f"FROM busybox\nADD {url}/nope /p\n", check=False)
        assert "status 404" in missing.stderr
        assert secret not in missing.stderr.split("\n", 1)[-1].replace(f">>> ADD {url}", "")
        lab.web.files["/private-context"] = b"FROM busybox\n"
        lab.daemon.corten("build", f"{url}/private-context")
        wrong = lab.daemon.corten("build", f"{url}/nope", check=False)
        assert (wrong.returncode, secret in wrong.stderr) == (1, False)
    finally:
        lab.web.user = ""
    history = lab.daemon.out("history", "--no-trunc", "t:1")
    assert "ADD http://xxxxx:xxxxx@127.0.0.1" in history
    kept = [history, lab.daemon.out("system", "df", "-v"), lab.daemon.log.read_text(errors="replace")]
    assert all(secret not in text for text in kept)
    with sqlite3.connect(f"file:{lab.daemon.data_root}/meta.db?mode=ro", uri=True) as database:
        rows = [value for (value,) in database.execute("SELECT value FROM records")]
    database.close()
    encoded = base64.b64encode(f"me:{secret}".encode())
    assert rows
    assert not any(secret.encode() in row or encoded in row for row in rows)
    for path in [*lab.daemon.data_root.joinpath("content").rglob("*"), *lab.daemon.data_root.glob("build-sources/*")]:
        assert not path.is_file() or secret.encode() not in path.read_bytes(), path


def test_files_of_the_web_have_names_that_files_may_have(lab: Lab) -> None:
    lab.web.files |= {"/": b"top", "/%2E%2E": b"top", "/a%00b": b"zero"}
    for path in ("", "/", "/.", "/..", "/%2e%2e"):
        lab.build(f"FROM busybox\nADD {lab.web.url}{path} /x/\n")
        assert lab.run("cd /x; ls; cat *") == "download\ntop", path
    assert "a file's name has no zero bytes" in lab.fails(f"FROM busybox\nADD {lab.web.url}/a%00b /x/\n")


# -- build contexts


def test_a_repository_as_the_build_context(lab: Lab) -> None:
    files = {"Dockerfile": DOCKERFILE, "a": "1", "sub/Dockerfile": DOCKERFILE, "sub/a": "sub", "other": DOCKERFILE}
    repository, url = lab.repository(**files)
    lab.daemon.corten("build", "-t", "t:1", url)
    assert lab.run("cat /a") == "1"
    lab.daemon.corten("build", "-t", "t:1", f"{url}#main:sub")
    assert lab.run("cat /a") == "sub"
    lab.daemon.corten("build", "-t", "t:1", "-f", "other", f"{url}?branch=main")
    fetches = lab.git.fetches()
    done = lab.daemon.corten("build", "-t", "t:1", url)
    assert (cached(done.stdout + done.stderr), lab.git.fetches()) == (1, fetches + 1)
    lab.daemon.corten("build", "-t", "t:1", "-f", "-", url, input="FROM busybox\nCOPY sub/a /from-stdin\n")
    assert lab.run("cat /from-stdin") == "sub"
    (repository.path / ".dockerignore").write_text("a\n")
    repository.commit({"b": "2"})
    ignored = lab.daemon.corten("build", url, check=False)
    assert '"/a": not found' in ignored.stderr or "not found" in ignored.stderr


def test_dockers_client_builds_from_a_repository_and_a_url(lab: Lab) -> None:
    """It fetches these itself for the classic builder; the API's parameter is for others (docker-py)."""
    _, url = lab.repository(Dockerfile=DOCKERFILE, a="1")
    lab.daemon.docker("build", "-t", "t:1", f"{url}#main")
    assert lab.run("cat /a") == "1"
    lab.web.files["/ctx.tar.gz"] = archive({"Dockerfile": DOCKERFILE, "a": "web"})
    lab.daemon.docker("build", "-t", "t:1", f"{lab.web.url}/ctx.tar.gz")
    assert lab.run("cat /a") == "web"


def test_docker_py_builds_from_addresses(lab: Lab) -> None:
    _, url = lab.repository(Dockerfile=DOCKERFILE, a="py")
    client = docker.DockerClient(base_url=lab.daemon.host)
    try:
        image, _ = client.images.build(path=url, tag="py:1")
        assert image.tags == ["py:1"]
        assert lab.run("cat /a", "py:1") == "py"
        lab.web.files["/Dockerfile"] = b"FROM busybox\nRUN echo text > /t\n"
        client.images.build(path=f"{lab.web.url}/Dockerfile", tag="py:2")
        assert lab.run("cat /t", "py:2") == "text"
    finally:
        client.close()


@pytest.mark.parametrize("compression", ["", "gz", "bz2", "xz"])
def test_an_archive_on_a_web_server_as_the_build_context(lab: Lab, compression: str) -> None:
    name = f"/ctx.{compression}"
    lab.web.files[name] = archive({"Dockerfile": DOCKERFILE, "a": compression or "plain"}, compression)
    lab.daemon.corten("build", "-t", "t:1", lab.web.url + name)
    assert lab.run("cat /a") == (compression or "plain")
    lab.web.requests.clear()
    done = lab.daemon.corten("build", "-t", "t:1", lab.web.url + name)
    assert cached(done.stdout + done.stderr) == 1
    assert lab.web.requests == [f"304 {name}"]


def test_provenance_names_the_context_and_what_it_was(lab: Lab, tmp_path: Path) -> None:
    repository, url = lab.repository(Dockerfile=DOCKERFILE, a="1")
    content = archive({"Dockerfile": DOCKERFILE, "a": "2"})
    lab.web.files["/said.tar.gz"] = content
    clean = f"{lab.web.url}/said.tar.gz"
    commit = repository.git("rev-parse", "HEAD")
    for given, expected, digest in (
        (f"{url}#main".replace("://", "://me:s3cret@"), f"{url}#main", {"sha1": commit}),
        (clean.replace("://", "://me:s3cret@"), clean, {"sha256": hashlib.sha256(content).hexdigest()}),
    ):
        file = tmp_path / "metadata"
        lab.daemon.corten("build", "--provenance=mode=max", "-t", "t:1", "--metadata-file", str(file), given)
        assert "s3cret" not in file.read_text()
        said = json.loads(file.read_text())["buildx.build.provenance"]["buildDefinition"]
        assert said["externalParameters"]["configSource"]["uri"] == expected
        assert said["resolvedDependencies"][0] == {"uri": expected, "digest": digest}


def test_provenance_names_the_commits_of_repositories_that_files_are_added_of(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "context").mkdir()
    repository, url = lab.repository(a="1")
    (tmp_path / "context/Dockerfile").write_text(f"FROM busybox\nADD {url}#main /src\n")
    file = tmp_path / "metadata"
    for _commit in range(2):
        commit = repository.git("rev-parse", "HEAD")
        for _again in range(2):
            lab.daemon.corten("build", "--provenance=true", "--metadata-file", str(file), str(tmp_path / "context"))
            said = json.loads(file.read_text())["buildx.build.provenance"]["buildDefinition"]["resolvedDependencies"]
            assert {"uri": f"{url}#main", "digest": {"sha1": commit}} in said
        repository.commit({"a": "2"})


def test_what_is_at_an_address_and_is_no_context_is_told(lab: Lab) -> None:
    def fails(*arguments: str) -> str:
        done = lab.daemon.corten("build", *arguments, check=False)
        assert done.returncode == 1
        return done.stderr

    lab.web.files["/zeros"] = b"\0" * 5000
    lab.web.redirects = {"/loop": "/loop", "/to-file": "file:///etc/passwd"}
    assert "neither an archive nor a Dockerfile" in fails(f"{lab.web.url}/zeros")
    assert "status 404" in fails(f"{lab.web.url}/nope")
    assert "stopped after 10 redirects" in fails(f"{lab.web.url}/loop")
    assert 'unsupported protocol scheme "file"' in fails(f"{lab.web.url}/to-file")
    assert "repository not found" in fails(f"{lab.git.url}/nope.git")
    assert "git over ssh needs an agent of the client's, and it forwards none" in fails("git@example.com:o/x.git")
    assert "egress list" in fails("--egress", "none", f"{lab.web.url}/ctx")


# -- named contexts


def test_named_contexts_over_the_api(lab: Lab) -> None:
    _, url = lab.repository(a="from git", Dockerfile="FROM scratch\n")
    lab.web.files["/file"] = b"from the web"
    lab.daemon.docker("tag", "busybox", "mine:1")
    dockerfile = (
        "FROM alpine:3.20 AS base\nCOPY --from=src a /a\nCOPY --from=web context /w\n"
        "RUN --mount=from=src,target=/m cp /m/a /mounted\nFROM src AS files\nFROM base\nCOPY --from=files /a /b\n"
        "COPY --from=stage a /c\nFROM nope AS stage\n"
    )
    contexts = {
        "alpine:3.20": "docker-image://mine:1",
        "src": url,
        "web": f"{lab.web.url}/file",
        "stage": f"{url}#main",
    }
    client = docker.APIClient(base_url=lab.daemon.host)
    context = archive({"Dockerfile": dockerfile})
    try:

        def build(contexts: dict[str, str], target: str = "2") -> str:
            query = {"t": "t:1", "contexts": json.dumps(contexts), "target": target}
            response = client.post(
                f"{client.base_url}/build", params=query, data=context, headers={"Content-Type": "application/x-tar"}
            )
            return response.text

        said = build(contexts, "files")
        assert "Successfully built" in said, said
        only_files = lab.daemon.inspect("t:1")
        assert len(only_files["RootFS"]["Layers"]) == 1
        said = build(contexts, "")
        assert "Successfully built" in said, said
        said = build({**contexts, "stage": "oci-layout:///x@sha256:1"}, "files")
        assert "Successfully built" in said, said  # nothing asks for it
        said = build({**contexts, "src": "oci-layout:///x"}, "files")
        assert "the OCI layout /x cannot be reached over this connection" in said
        said = build({**contexts, "src": "target:x"}, "files")
        assert "a target of a bake file" in said
        said = build({**contexts, "src": "local:src"}, "files")
        assert "does not send a context named 'src'" in said
        said = build({**contexts, "src": ""}, "files")
        assert "invalid named context" in said
    finally:
        client.close()


def test_stages_and_images_that_named_contexts_replace(lab: Lab) -> None:
    _, url = lab.repository(a="from git")
    lab.web.files["/file"] = b"from the web"
    lab.daemon.docker("tag", "busybox", "mine:1")
    dockerfile = (
        "FROM nope AS stage\nRUN never\nFROM alpine:3.20\nCOPY --from=src a /a\nCOPY --from=web context /w\n"
        "RUN --mount=from=src,target=/m cp /m/a /mounted\nCOPY --from=stage a /c\n"
    )
    contexts = {
        "docker.io/library/alpine:3.20": "docker-image://mine:1",
        "src": url,
        "web": f"{lab.web.url}/file",
        "stage": f"{url}#main",
    }
    client = docker.APIClient(base_url=lab.daemon.host)
    try:
        response = client.post(
            f"{client.base_url}/build",
            params={"t": "t:1", "contexts": json.dumps(contexts)},
            data=archive({"Dockerfile": dockerfile}),
            headers={"Content-Type": "application/x-tar"},
        )
        assert "Successfully built" in response.text, response.text
    finally:
        client.close()
    assert lab.run("cat /a /w /mounted /c") == "from gitfrom the webfrom gitfrom git"


# -- where builds may not fetch from


def test_by_default_builds_fetch_nothing_from_the_host_itself(tmp_path: Path) -> None:
    web = Web()
    web.files["/secret"] = b"secret"
    thread = threading.Thread(target=web.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    root = tmp_path / "git"
    engine = Daemon()
    (engine.root / "daemon.json").write_text('{"builder": {"sources": {"deny": ["192.0.2.0/24"]}}}')
    try:
        with running_daemon(engine=engine) as daemon, GitServer(root) as git:
            daemon.docker("load", "-i", str(images.busybox()))
            Repository(root / "x.git").commit({"a": "1", "Dockerfile": DOCKERFILE})

            def refused(dockerfile: str) -> None:
                done = daemon.corten("build", "-", input=f"FROM busybox\n{dockerfile}\n", check=False)
                assert (done.returncode, "refused to connect to" in done.stderr) == (1, True), done.stderr

            for host in ("127.0.0.1", "localhost", "0.0.0.0", "[::ffff:127.0.0.1]"):
                refused(f"ADD http://{host}:{web.port}/secret /s")
                refused(f"ADD http://{host}:{git.port}/x.git /s")
                refused(f"ADD git://{host}:{git.port}/x /s")
            for address in ("169.254.169.254", "192.0.2.1"):
                refused(f"ADD http://{address}/latest/meta-data/ /s")
            for url in (f"{git.url}/x.git", f"{web.url}/secret"):
                done = daemon.corten("build", url, check=False)
                assert (done.returncode, "refused to connect to" in done.stderr) == (1, True), done.stderr
            assert (git.requests, web.requests) == ([], [])
    finally:
        web.server.shutdown()
        thread.join()
        web.server.server_close()


# -- what ends early


class Silent:
    """A server that sends the beginning of a file, and then nothing; `ended` when its client has gone."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.ended = threading.Event()
        silent = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(1 << 30))
                self.end_headers()
                self.wfile.write(b"x" * 100_000)
                silent.begun.set()
                with suppress(ConnectionError):
                    self.connection.settimeout(60)
                    self.connection.recv(1)
                silent.ended.set()

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/file"

    def __enter__(self) -> Silent:
        self._thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()


@pytest.mark.parametrize("what", ["add", "context", "git"])
def test_a_client_that_leaves_ends_the_fetch_and_leaves_nothing(lab: Lab, what: str) -> None:
    before = fetched(lab.daemon)
    with Silent() as silent:
        query = {"t": "t:1"}
        body = archive({"Dockerfile": f"FROM busybox\nADD {silent.url} /f\n"})
        if what != "add":
            query["remote"] = silent.url + (".git" if what == "git" else "")
            body = b""
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(lab.daemon.socket))
        head = f"POST /build?{urlencode(query)} HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-tar\r\n"
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        assert silent.begun.wait(30) or what == "git"
        if what == "git":
            assert b"does not speak git" in connection.recv(4096)
        connection.close()
        assert silent.ended.wait(30)
    assert fetched(lab.daemon) == before


def fetched(daemon: Daemon) -> set[str]:
    return {path.name for path in (daemon.data_root / "build-sources").glob("*")}


def test_a_killed_daemon_leaves_nothing_of_a_fetch(tmp_path: Path) -> None:
    with running_daemon() as daemon, Silent() as silent:
        build = subprocess.Popen(
            [*daemon_command(daemon), "build", silent.url],
            env=daemon.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        assert silent.begun.wait(30)
        daemon.kill()
        assert build.wait(30) == 1
        assert fetched(daemon) == set()
        daemon.start()
        Repository(tmp_path / "x.git").commit({"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"})
        with GitServer(tmp_path) as git:
            daemon.corten("build", f"{git.url}/x.git")
        assert len(fetched(daemon)) == 1
        daemon.docker("builder", "prune", "-af")
        assert fetched(daemon) == set()


def daemon_command(daemon: Daemon) -> list[str]:
    source = Path(__file__).resolve().parents[2] / "src"
    return [sys.executable, "-I", "-S", str(source / "corten/__main__.py"), "-H", daemon.host]


# -- buildx


@pytest.fixture(scope="module")
def buildx(lab: Lab) -> Iterator[Lab]:
    with_plugins(lab.daemon)
    lab.daemon.environment["DOCKER_BUILDKIT"] = "1"
    lab.daemon.environment["BUILDKIT_PROGRESS"] = "plain"
    yield lab
    lab.daemon.environment["DOCKER_BUILDKIT"] = "0"


def test_buildx_builds_from_repositories_and_archives(buildx: Lab, tmp_path: Path) -> None:
    files = {"Dockerfile": DOCKERFILE, "a": "1", "sub/Dockerfile": DOCKERFILE, "sub/a": "sub", "other": DOCKERFILE}
    _, url = buildx.repository(**files)
    buildx.daemon.docker("build", "-t", "t:1", url)
    assert buildx.run("cat /a") == "1"
    buildx.daemon.docker("build", "-t", "t:1", f"{url}#main:sub")
    assert buildx.run("cat /a") == "sub"
    buildx.daemon.docker("build", "-t", "t:1", "-f", "other", url)
    fetches = buildx.git.fetches()
    done = buildx.daemon.docker("build", "-t", "t:1", url)
    assert ("CACHED" in done.stderr, buildx.git.fetches()) == (True, fetches + 1)
    buildx.daemon.docker("build", "-t", "t:1", "-f", "-", url, input="FROM busybox\nCOPY sub/a /from-stdin\n")
    assert buildx.run("cat /from-stdin") == "sub"
    buildx.web.files["/x.tar.gz"] = archive({"Dockerfile": DOCKERFILE, "a": "web"})
    buildx.daemon.docker("build", "-t", "t:1", f"{buildx.web.url}/x.tar.gz")
    assert buildx.run("cat /a") == "web"
    wrong = buildx.daemon.docker("build", f"{url}#nope", check=False)
    assert (wrong.returncode, 'repository does not contain ref "nope"' in wrong.stderr) == (1, True), wrong.stderr


def test_buildx_brings_named_contexts_of_all_kinds(buildx: Lab, tmp_path: Path) -> None:
    _, url = buildx.repository(a="from git")
    buildx.web.files["/file"] = b"from the web"
    buildx.daemon.docker("tag", "busybox", "mine:1")
    (tmp_path / "here").mkdir()
    (tmp_path / "here/l").write_text("from here")
    (tmp_path / "here/ignored").write_text("x")
    (tmp_path / "here/.dockerignore").write_text("ignored\n")
    (tmp_path / "context").mkdir()
    (tmp_path / "context/Dockerfile").write_text(
        "FROM nope AS stage\nRUN never\nFROM alpine:3.20\nCOPY --from=src a /a\nCOPY --from=web context /w\n"
        "COPY --from=here / /here/\nRUN --mount=from=src,target=/m cp /m/a /mounted\nCOPY --from=stage a /c\n"
        f"ADD {url} /added\n"
    )
    contexts = {
        "alpine:3.20": "docker-image://mine:1",
        "src": url,
        "web": f"{buildx.web.url}/file",
        "here": str(tmp_path / "here"),
        "stage": f"{url}#main",
    }
    flags = [word for name, value in contexts.items() for word in ("--build-context", f"{name}={value}")]
    buildx.daemon.docker("build", "-t", "t:1", *flags, str(tmp_path / "context"))
    shown = buildx.run("cat /a /w /mounted /c /added/a; ls -A /here")
    assert shown == "from gitfrom the webfrom gitfrom gitfrom git.dockerignore\nl"
    done = buildx.daemon.docker("build", "-t", "t:1", *flags, str(tmp_path / "context"))
    assert done.stderr.count("CACHED") >= 6


def test_tokens_for_git_are_asked_of_the_client(buildx: Lab, tmp_path: Path) -> None:
    repository, _ = buildx.repository(Dockerfile="FROM busybox\nARG URL\nADD $URL /src\n", a="1")
    with GitServer(buildx.root, user="x-access-token:s3cret-token") as git:
        url = f"{git.url}/{repository.path.name}"
        arguments = ("build", "-t", "t:1", "--build-arg", f"URL={url}", url)
        assert buildx.daemon.docker(*arguments, check=False).returncode == 1
        (tmp_path / "token").write_text("s3cret-token\n")
        for name in ("GIT_AUTH_TOKEN", f"GIT_AUTH_TOKEN.127.0.0.1:{git.port}"):
            buildx.daemon.docker(
                "build", "--no-cache", "--secret", f"id={name},src={tmp_path / 'token'}", *arguments[1:]
            )
    assert buildx.run("cat /src/a") == "1"
    assert "s3cret-token" not in buildx.daemon.log.read_text(errors="replace")
