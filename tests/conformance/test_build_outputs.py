"""`corten build -o`: the result as files, as a tar or as an archive, and nothing of it in the engine."""

from __future__ import annotations

import io
import json
import stat
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.lab import images
from tests.lab.daemon import Daemon, running_daemon

import corten

Build = Callable[..., "subprocess.CompletedProcess[str]"]
MAIN = Path(corten.__file__).with_name("__main__.py")
DOCKERFILE = "FROM busybox AS made\nRUN mkdir /d && echo made > /d/made\nFROM scratch\nCOPY --from=made /d /d\n"


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with running_daemon() as engine:
        engine.environment["DOCKER_BUILDKIT"] = "0"
        engine.docker("load", "-i", str(images.busybox()))
        yield engine


@pytest.fixture
def build(daemon: Daemon, tmp_path: Path) -> Build:
    def run(dockerfile: str, *flags: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        (tmp_path / "Dockerfile").write_text(dockerfile)
        return daemon.corten("build", "--network", "none", *flags, str(tmp_path), check=check)

    return run


def blobs(daemon: Daemon) -> set[str]:
    return {path.name for path in (daemon.data_root / "content/blobs/sha256").iterdir()}


def test_files_go_to_a_directory(daemon: Daemon, build: Build, tmp_path: Path) -> None:
    output = build(DOCKERFILE, "-t", "never:1", "-o", str(tmp_path / "out")).stderr
    assert (tmp_path / "out/d/made").read_text() == "made\n"
    assert "exporting to client files" in output
    assert "naming to" not in output
    assert daemon.out("images", "-q", "never") == ""


def test_files_of_a_hostile_image_have_no_power_and_stay_in_the_directory(build: Build, tmp_path: Path) -> None:
    build(
        "FROM busybox\nRUN mkdir /x && touch /x/su && chmod 4755 /x/su && mknod /x/null c 1 3 && ln -s /etc /x/etc\n"
        "RUN ln -s /etc/passwd /x/passwd\n",
        "-o",
        f"type=local,dest={tmp_path / 'out'}",
    )
    found = tmp_path / "out/x"
    assert sorted(path.name for path in found.iterdir()) == ["etc", "passwd", "su"]
    assert stat.S_IMODE((found / "su").stat().st_mode) == 0o755
    assert (found / "etc").readlink() == Path("/etc")


def test_files_go_to_a_tar_and_to_standard_output(daemon: Daemon, build: Build, tmp_path: Path) -> None:
    file = tmp_path / "out.tar"
    build(DOCKERFILE, "-o", f"type=tar,dest={file}")
    with tarfile.open(file) as tar:
        assert sorted(tar.getnames()) == ["d", "d/made"]
    written = daemon.corten("build", "-o", "-", "-", input=DOCKERFILE)
    with tarfile.open(fileobj=io.BytesIO(written.stdout.encode())) as tar:
        assert sorted(tar.getnames()) == ["d", "d/made"]
    assert "#1 DONE" in written.stderr
    empty = daemon.corten("build", "-o", "-", "-", input="FROM scratch\n")
    with tarfile.open(fileobj=io.BytesIO(empty.stdout.encode())) as tar:
        assert tar.getnames() == []


@pytest.mark.parametrize("kind", ["oci", "docker"])
def test_an_archive_is_the_image_and_leaves_nothing_here(
    daemon: Daemon, build: Build, tmp_path: Path, kind: str
) -> None:
    file = tmp_path / "image.tar"
    dockerfile = f"FROM busybox\nRUN echo {kind} > /kind\nLABEL made={kind}\n"
    build(dockerfile)  # the step is in the cache then
    before = blobs(daemon)
    build(dockerfile, "-t", f"sent:{kind}", "-o", f"type={kind},dest={file}", "--label", "other=1")
    assert blobs(daemon) == before
    assert daemon.out("images", "-q", "sent") == ""
    with tarfile.open(file) as tar:
        index = json.load(tar.extractfile("index.json"))  # type: ignore[arg-type]
    assert index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"] == kind
    daemon.docker("load", "-i", str(file))
    assert daemon.inspect(f"sent:{kind}")["Config"]["Labels"] == {"made": kind, "other": "1"}
    assert daemon.out("run", "--rm", "--network", "none", f"sent:{kind}", "cat", "/kind") == kind
    daemon.docker("rmi", f"sent:{kind}")


def test_a_build_that_fails_writes_nothing(build: Build, tmp_path: Path) -> None:
    for output in (str(tmp_path / "out"), f"type=tar,dest={tmp_path / 'out'}"):
        assert build("FROM busybox\nRUN exit 4\n", "--force-rm", "-o", output, check=False).returncode == 1
        assert not (tmp_path / "out").exists()


def test_a_client_that_goes_away_in_the_output_leaves_nothing(daemon: Daemon, build: Build, tmp_path: Path) -> None:
    build("FROM busybox\nRUN head -c 40000000 /dev/zero > /big\n")
    before = blobs(daemon)
    argv = [
        sys.executable,
        "-I",
        "-S",
        str(MAIN),
        "-H",
        daemon.host,
        "build",
        "--network",
        "none",
        "--label",
        "gone=1",
        "-o",
        "type=oci",
        str(tmp_path),
    ]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=daemon.environment) as client:
        assert client.stdout is not None
        assert client.stdout.read(10) == b"blobs/\0\0\0\0"
        assert blobs(daemon) > before  # the documents, while it is read
        client.kill()
    deadline = time.monotonic() + 30
    while blobs(daemon) != before:
        assert time.monotonic() < deadline
        time.sleep(0.05)
