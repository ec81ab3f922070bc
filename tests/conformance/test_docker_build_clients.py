"""Builds by other clients than docker's: docker-py, raw requests, Corten's own command; and what ADD fetches."""

from __future__ import annotations

import functools
import hashlib
import http.client
import http.server
import io
import json
import os
import re
import socket
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import docker.errors
import pytest
from tests.lab import images
from tests.lab.daemon import Daemon, running_daemon


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with running_daemon() as engine:
        engine.environment["DOCKER_BUILDKIT"] = "0"
        engine.docker("load", "-i", str(images.busybox()))
        yield engine


@pytest.fixture
def client(daemon: Daemon) -> Iterator[docker.DockerClient]:
    connection = docker.DockerClient(base_url=daemon.host, timeout=60)
    yield connection
    connection.close()


def tar_of(**members: bytes | tarfile.TarInfo) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                tar.addfile(content)
            else:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return file.getvalue()


def post(daemon: Daemon, query: str, body: bytes, **headers: str) -> tuple[int, list[dict[str, Any]]]:
    """POST /build; the status and the messages."""
    connection = http.client.HTTPConnection("corten")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(60)
    connection.sock.connect(str(daemon.socket))
    try:
        connection.request("POST", f"/build?{query}", body, {"Content-Type": "application/x-tar", **headers})
        answer = connection.getresponse()
        return answer.status, [json.loads(line) for line in answer.read().splitlines() if line]
    finally:
        connection.close()


def test_docker_py_builds_a_directory(client: docker.DockerClient, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM busybox\nARG A\nCOPY f /f\nRUN echo $A > /a\n")
    (tmp_path / "f").write_text("f")
    image, logs = client.images.build(path=str(tmp_path), tag="py:1", buildargs={"A": "b"}, labels={"l": "m"})
    assert image.tags == ["py:1"]
    assert image.labels["l"] == "m"
    assert any("Successfully built" in entry.get("stream", "") for entry in logs)
    assert client.containers.run("py:1", ["cat", "/f", "/a"], remove=True, network_mode="none") == b"fb\n"


def test_docker_py_is_told_what_failed(client: docker.DockerClient) -> None:
    with pytest.raises(docker.errors.BuildError, match="returned a non-zero code: 7"):
        client.images.build(fileobj=io.BytesIO(b"FROM busybox\nRUN exit 7\n"), forcerm=True)
    with pytest.raises(docker.errors.APIError, match="unknown instruction: NOPE"):
        client.images.build(fileobj=io.BytesIO(b"FROM busybox\nNOPE\n"))


def test_the_failure_has_the_code_and_the_success_an_id(daemon: Daemon) -> None:
    status, messages = post(daemon, "forcerm=1", tar_of(Dockerfile=b"FROM busybox\nRUN exit 4\n"))
    assert status == 200
    assert messages[-1]["errorDetail"]["code"] == 4
    assert messages[-1]["error"] == messages[-1]["errorDetail"]["message"]
    status, messages = post(daemon, "t=raw:1", tar_of(Dockerfile=b"FROM busybox\n"))
    assert {"aux": {"ID": daemon.inspect("raw:1")["Id"]}} in messages


@pytest.mark.parametrize(
    ("query", "status", "text"),
    [
        ("t=UPPER", 400, "invalid reference format"),
        ("buildargs=x", 400, "error reading buildargs"),
        ("buildargs={%22SOURCE_DATE_EPOCH%22:%22soon%22}", 400, "invalid SOURCE_DATE_EPOCH"),
        ("memory=lots", 400, "invalid syntax"),
        ("dockerfile=nope", 400, "Cannot locate specified Dockerfile: nope"),
        ("version=2", 501, "BuildKit"),
        ("remote=git@h.invalid:x/y.git", 500, "git over ssh needs an agent"),
        ("remote=https://h.invalid/x.git%3Ftag=1%26branch=2", 400, "branch conflicts with tag"),
        ("remote=ftp://x/", 400, "unsupported build context"),
        ("contexts={%22a%22:%22%22}", 400, "invalid named context"),
        ("outputs=[{%22Type%22:%22ipfs%22}]", 400, "output type 'ipfs' is not supported"),
        ("outputs=[{%22Type%22:%22registry%22}]", 400, "tag is needed when pushing to registry"),
        ("outputs=none", 400, "error reading outputs"),
        ("attests={%22sbom%22:%22generator=x%22}", 400, "another generator is not supported"),
        ("platform=linux/amd64,a/b/c/d", 400, "cannot parse platform"),
    ],
)
def test_wrong_requests_are_refused_before_the_stream(daemon: Daemon, query: str, status: int, text: str) -> None:
    found, messages = post(daemon, query, tar_of(Dockerfile=b"FROM busybox\n"))
    assert (found, text in messages[0]["message"]) == (status, True)


@pytest.mark.parametrize("name", ["../escape", "a/../../x"])
def test_a_context_with_a_name_that_leads_out_is_refused(daemon: Daemon, name: str) -> None:
    body = tar_of(Dockerfile=b"FROM busybox\n", **{name: b"x"})
    status, messages = post(daemon, "", body)
    assert (status, "outside" in messages[0]["message"]) == (400, True)


def test_links_of_a_context_stay_in_it(daemon: Daemon) -> None:
    link = tarfile.TarInfo("passwd")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/shadow"
    status, messages = post(daemon, "", tar_of(Dockerfile=b"FROM busybox\nCOPY passwd /p\n", link=link))
    assert status == 200
    assert "not found" in messages[-1]["error"]


def test_what_is_no_tar_is_refused(daemon: Daemon) -> None:
    assert post(daemon, "", b"no tar" * 1000)[0] == 400
    assert post(daemon, "", tar_of(Dockerfile=b"FROM busybox\n")[:700])[0] == 400


def test_cortens_own_command_builds(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/f").write_text("f")
    (tmp_path / "link").symlink_to("sub/f")
    other = tmp_path.parent / "elsewhere.Dockerfile"
    other.write_text("FROM busybox\nCOPY . /c\nRUN cat /c/link\n")
    output = daemon.corten("build", "-t", "own:1", "-f", str(other), "--iidfile", str(tmp_path / "id"), str(tmp_path))
    assert "naming to docker.io/library/own:1 done\n" in output.stderr
    assert output.stdout == ""
    assert (tmp_path / "id").read_text() == daemon.inspect("own:1")["Id"]
    (tmp_path / ".dockerignore").write_text("*\n!sub\n")
    (tmp_path / "sub/large").write_bytes(b"x" * 1000)
    (tmp_path / "never").mkdir(mode=0)
    listing = daemon.corten("build", "-f", "-", str(tmp_path), input="FROM busybox\nCOPY . /c\nRUN find /c -type f\n")
    assert sorted(line.split()[2] for line in listing.stderr.splitlines() if " /c/" in line) == [
        "/c/sub/f",
        "/c/sub/large",
    ]
    quiet = daemon.corten("build", "-q", "-", input="FROM busybox\nRUN true\n").stdout
    assert quiet.startswith("sha256:")
    failed = daemon.corten("build", "--force-rm", "-", input="FROM busybox\nRUN exit 9\n", check=False)
    assert (failed.returncode, "exit code: 9" in failed.stderr) == (1, True)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """A web server on loopback, of a folder with one file."""
    (tmp_path / "www").mkdir()
    (tmp_path / "www/file.txt").write_text("fetched\n")
    handler = functools.partial(_Quiet, directory=str(tmp_path / "www"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def test_add_fetches_and_leaves_nothing_but_the_layer(daemon: Daemon, web: str, tmp_path: Path) -> None:
    digest = hashlib.sha256(b"fetched\n").hexdigest()
    dockerfile = f"FROM busybox\nADD {web}/file.txt /d/\nADD --checksum=sha256:{digest} {web}/file.txt /again\n"
    assert daemon.corten("build", "-t", "add:1", "-", input=dockerfile).stderr.count("CACHED") == 0
    shown = daemon.out("run", "--rm", "--network", "none", "add:1", "sh", "-c", "cat /d/file.txt; stat -c %a /again")
    assert shown.split() == ["fetched", "600"]
    before = blobs(daemon)
    again = daemon.corten("build", "-t", "add:1", "-", input=dockerfile).stderr
    assert len(re.findall(r"(?m)^#\d+ \[./3\] ADD .*\n#\d+ CACHED$", again)) == 2
    assert blobs(daemon) == before
    file = tmp_path / "www/file.txt"
    file.write_text("other\n")
    os.utime(file, (later := time.time() + 60, later))  # what the server tells of it has no fractions of seconds
    failed = daemon.corten("build", "--no-cache", "-", input=dockerfile, check=False)
    assert "digest mismatch" in failed.stderr
    missing = daemon.corten("build", "-", input=f"FROM busybox\nADD {web}/nope /\n", check=False)
    assert "status 404" in missing.stderr


def blobs(daemon: Daemon) -> set[str]:
    return {path.name for path in (daemon.data_root / "content/blobs/sha256").iterdir()}
