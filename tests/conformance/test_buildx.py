"""`docker build` with buildx, and all else that speaks BuildKit's API, against the daemon."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.lab import images
from tests.lab.daemon import Daemon, docker_cli, running_daemon
from tests.lab.plugins import with_plugins

Build = Callable[..., "subprocess.CompletedProcess[str]"]
WAIT_S = 30


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with running_daemon() as engine:
        with_plugins(engine)
        engine.docker("load", "-i", str(images.busybox()))
        yield engine


@pytest.fixture
def context(tmp_path: Path) -> Path:
    root = tmp_path / "context"
    (root / "dir").mkdir(parents=True)
    (root / "a.txt").write_text("a\n")
    (root / "dir/ä").write_text("non-ascii\n")
    return root


@pytest.fixture
def build(daemon: Daemon, context: Path) -> Build:
    """Build a Dockerfile's text in the context."""

    def run(dockerfile: str, *flags: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        (context / "Dockerfile").write_text(dockerfile)
        return daemon.docker("build", *flags, str(context), check=check, **options)

    return run


def steps(text: str) -> list[str]:
    """What plain progress calls the steps, in order, without numbers of its own."""
    return re.findall(r"^#\d+ (\[.*)$", text, re.MULTILINE)


def test_the_daemon_says_that_it_builds_with_buildkit(daemon: Daemon) -> None:
    assert "BuildKit version: v0." in daemon.out("buildx", "inspect")
    assert "running" in daemon.out("buildx", "ls")


def test_a_build_and_the_same_build_again(daemon: Daemon, build: Build) -> None:
    text = 'FROM busybox\nARG A\nCOPY . /c/\nRUN echo "said $A" | tee /said\nENV X=y\nCMD ["cat", "/said"]\n'
    first = build(text, "-t", "t:1", "-t", "other:2", "--build-arg", "A=b", "--label", "l=m").stderr
    assert steps(first) == [
        "[internal] load build definition from Dockerfile",
        "[internal] load .dockerignore",
        "[internal] load metadata for docker.io/library/busybox:latest",
        "[internal] load build context",
        "[1/3] FROM docker.io/library/busybox:latest",
        "[2/3] COPY . /c/",
        '[3/3] RUN echo "said $A" | tee /said',
    ]
    assert re.search(r"^#\d+ \d+\.\d+ said b$", first, re.MULTILINE)
    assert "naming to docker.io/library/t:1 done" in first
    image = daemon.inspect("t:1")
    assert (image["Config"]["Labels"]["l"], image["Config"]["Env"][-1]) == ("m", "X=y")
    assert daemon.inspect("other:2")["Id"] == image["Id"]
    assert daemon.out("run", "--rm", "--network", "none", "t:1") == "said b"
    assert daemon.out("run", "--rm", "--network", "none", "t:1", "cat", "/c/dir/ä") == "non-ascii"

    second = build(text, "-t", "t:1", "--build-arg", "A=b", "--label", "l=m").stderr
    assert second.count(" CACHED\n") == 3
    assert daemon.inspect("t:1")["Id"] == image["Id"]
    assert build(text, "-q", "--build-arg", "A=b", "--label", "l=m").stdout.strip() == image["Id"]


def test_what_a_client_writes_of_a_build(daemon: Daemon, build: Build, tmp_path: Path) -> None:
    build(
        "FROM busybox\nRUN true\n",
        "-t",
        "m:1",
        "--iidfile",
        str(tmp_path / "i"),
        "--metadata-file",
        str(tmp_path / "m"),
    )
    image = daemon.inspect("m:1")["Id"]
    told = json.loads((tmp_path / "m").read_text())
    assert (tmp_path / "i").read_text() == image == told["containerimage.config.digest"]
    assert told["image.name"] == "docker.io/library/m:1"


def test_stages_a_target_and_their_names(build: Build, daemon: Daemon) -> None:
    text = (
        "FROM busybox AS one\nRUN echo 1 > /1\nFROM busybox\nCOPY --from=one /1 /2\nFROM scratch\nCOPY --from=1 /2 /3\n"
    )
    found = steps(build(text, "-t", "s:1").stderr)
    assert {
        "[one 2/2] RUN echo 1 > /1",
        "[stage-1 2/2] COPY --from=one /1 /2",
        "[stage-2 1/1] COPY --from=1 /2 /3",
    } <= set(found)
    found = steps(build(text, "--target", "one", "--no-cache").stderr)
    assert not any("stage-" in name for name in found)
    failed = build(text, "--target", "nope", check=False)
    assert 'target stage "nope" could not be found' in failed.stderr


@pytest.mark.parametrize(
    ("dockerfile", "text", "line"),
    [
        (
            "FROM busybox\nRUN echo heard; exit 3\n",
            'process "/bin/sh -c echo heard; exit 3" did not complete successfully: exit code: 3',
            2,
        ),
        (
            "FROM busybox\n\nRUNN x\n",
            "dockerfile parse error on line 3: unknown instruction: RUNN (did you mean RUN?)",
            3,
        ),
        ("FROM busybox\nCOPY nothere /\n", '"/nothere": not found', 2),
        ("FROM 127.0.0.1:1/none\n", "failed to resolve source metadata for 127.0.0.1:1/none:latest", 1),
        ("# syntax=other/frontend\nFROM busybox\n", 'the frontend "other/frontend"', 1),
        ("FROM busybox\nCOPY --chown=nobodyhere a.txt /\n", "unable to find user nobodyhere", 2),
    ],
)
def test_what_fails_is_told_with_its_line(build: Build, dockerfile: str, text: str, line: int) -> None:
    failed = build(dockerfile, check=False)
    assert failed.returncode == 1
    assert text in failed.stderr.splitlines()[-1]
    assert re.search(rf"^Dockerfile:{line}$", failed.stderr, re.MULTILINE)
    assert re.search(rf"^ +{line} \| >>> ", failed.stderr, re.MULTILINE)


def test_the_output_of_a_failed_command_is_shown_again(build: Build) -> None:
    failed = build("FROM busybox\nRUN echo he''ard; exit 3\n", check=False).stderr
    tail = failed[failed.index("------\n > [2/2]") :]
    assert re.search(r"^\d+\.\d+ heard$", tail, re.MULTILINE)


def test_a_missing_dockerfile_is_told_by_its_name(daemon: Daemon, context: Path) -> None:
    failed = daemon.docker("build", "-f", str(context / "None"), str(context), check=False)
    assert "failed to read dockerfile: open None: no such file or directory" in failed.stderr


def test_stages_that_are_built_anew(build: Build) -> None:
    text = "FROM busybox AS one\nRUN echo 1 > /1\nFROM busybox AS two\nCOPY --from=one /1 /2\nRUN echo 2 >> /2\n"
    build(text)
    again = build(text, "--no-cache-filter", "two").stderr
    assert re.search(r"^#(\d+) \[one 2/2\] RUN echo 1 > /1\n#\1 CACHED$", again, re.MULTILINE)
    assert not re.search(r"^#(\d+) \[two 3/3\] RUN echo 2 >> /2\n#\1 CACHED$", again, re.MULTILINE)


def test_dockers_own_frontend_is_this_one(build: Build) -> None:
    build("# syntax=docker/dockerfile:1.7\nFROM busybox\n")


def test_a_dockerfile_and_a_context_from_standard_input(daemon: Daemon, context: Path, tmp_path: Path) -> None:
    text = "FROM busybox\nCOPY a.txt /in\n"
    daemon.docker("build", "-t", "in:1", "-f", "-", str(context), input=text)
    assert daemon.out("run", "--rm", "--network", "none", "in:1", "cat", "/in") == "a"
    (context / "Dockerfile").write_text(text)
    with tarfile.open(tmp_path / "c.tar.gz", "w:gz") as tar:
        tar.add(context, ".")
    with open(tmp_path / "c.tar.gz", "rb") as file:
        daemon.docker("build", "-t", "in:2", "-", stdin=file)
    assert daemon.inspect("in:2")["Id"] == daemon.inspect("in:1")["Id"]


def test_what_is_ignored_is_not_sent(daemon: Daemon, build: Build, context: Path) -> None:
    (context / ".dockerignore").write_text("*.txt\n")
    build("FROM busybox\nCOPY . /c\n", "-t", "ig:1")
    assert daemon.out("run", "--rm", "--network", "none", "ig:1", "ls", "/c") == "Dockerfile\ndir"
    assert '"/a.txt": not found' in build("FROM busybox\nCOPY a.txt /\n", check=False).stderr


def test_files_tars_and_layouts_come_to_the_client(build: Build, tmp_path: Path) -> None:
    text = "FROM scratch\nCOPY a.txt /sub/a\n"
    build(text, "--output", str(tmp_path / "out"))
    assert (tmp_path / "out/sub/a").read_text() == "a\n"
    build(text, "--output", f"type=tar,dest={tmp_path}/o.tar")
    with tarfile.open(tmp_path / "o.tar") as tar:
        assert "sub/a" in tar.getnames()
    build(text, "--output", f"type=oci,dest={tmp_path}/oci.tar")
    with tarfile.open(tmp_path / "oci.tar") as tar:
        assert "index.json" in tar.getnames()


def test_several_platforms_and_several_outputs(daemon: Daemon, build: Build, tmp_path: Path) -> None:
    text = "FROM scratch\nCOPY a.txt /a\n"
    both = ("--platform", "linux/amd64,linux/arm64")
    assert "[linux/amd64 1/1] COPY a.txt /a" in steps(build(text, *both, "-t", "multi:1").stderr)
    assert "linux/arm64" in daemon.out("images", "--tree", "multi")
    build(text, *both, "-o", str(tmp_path / "out"))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"linux_amd64", "linux_arm64"}
    build(text, "-o", f"type=tar,dest={tmp_path}/1.tar", "-o", f"type=oci,dest={tmp_path}/2.tar")
    assert all(tarfile.is_tarfile(tmp_path / name) for name in ("1.tar", "2.tar"))


def test_provenance_is_said_where_somebody_asks(daemon: Daemon, build: Build, tmp_path: Path) -> None:
    text = "FROM scratch\nCOPY a.txt /a\n"
    for name, flags in (("plain", ()), ("said", ("--provenance=mode=max",))):
        build(text, *flags, "-t", f"{name}:1", "--metadata-file", str(tmp_path / name))
    plain, told = (json.loads((tmp_path / name).read_text()) for name in ("plain", "said"))
    assert plain["containerimage.descriptor"]["mediaType"].endswith("image.manifest.v1+json")
    assert told["containerimage.descriptor"]["mediaType"].endswith("image.index.v1+json")
    assert daemon.inspect("plain:1")["Id"] == daemon.inspect("said:1")["Id"]


def test_secrets_and_named_contexts(daemon: Daemon, build: Build, tmp_path: Path) -> None:
    (tmp_path / "s").write_text("sesame")
    (tmp_path / "more").mkdir()
    (tmp_path / "more/f").write_text("from more\n")
    text = "FROM busybox\nRUN --mount=type=secret,id=s md5sum < /run/secrets/s > /sum\nCOPY --from=more f /f\n"
    build(text, "-t", "sec:1", "--secret", f"id=s,src={tmp_path}/s", "--build-context", f"more={tmp_path}/more")
    shown = daemon.out("run", "--rm", "--network", "none", "sec:1", "cat", "/sum", "/f").splitlines()
    assert shown[1] == "from more"
    assert "sesame" not in daemon.log_text() + daemon.out("history", "--no-trunc", "sec:1")


def test_warnings_are_shown_behind_a_build(build: Build) -> None:
    shown = build("FROM busybox as x\n", "--build-arg", "NOPE=1").stderr
    assert "2 warnings found" in shown
    assert "FromAsCasing: 'as' and 'FROM' keywords' casing do not match (line 1)" in shown
    assert "One or more build-args [NOPE] were not consumed" in shown


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (("--network", "other"), "network mode"),
        (("--output", "type=image,nonsense=1"), "nonsense"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(build: Build, flags: tuple[str, ...], text: str) -> None:
    failed = build("FROM busybox\nRUN true\n", *flags, check=False)
    assert failed.returncode != 0
    assert text in failed.stderr.splitlines()[-1]


def test_the_network_and_hosts_of_a_build(build: Build) -> None:
    text = "FROM busybox\nRUN cat /etc/hosts; ls /sys/class/net | wc -l\n"
    shown = build(text, "--network", "none", "--add-host", "here:10.1.2.3", "--no-cache").stderr
    assert re.search(r"10\.1\.2\.3\s+here", shown)
    assert re.search(r"^#\d+ \d+\.\d+ 1$", shown, re.MULTILINE)
    assert re.search(
        r"^#\d+ [\d.]+ \d+\.\d+\.\d+\.\d+\s+gate", build(text, "--add-host", "gate:host-gateway").stderr, re.MULTILINE
    )


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_a_build_whose_client_goes_away_leaves_nothing(daemon: Daemon, context: Path, end: signal.Signals) -> None:
    (context / "Dockerfile").write_text("FROM busybox\nRUN echo going; sleep 1000\n")
    argv = [docker_cli(), "-H", daemon.host, "build", "--no-cache", "-t", "gone:1", str(context)]
    client = subprocess.Popen(argv, env=daemon.environment, stderr=subprocess.PIPE, text=True, start_new_session=True)
    with client:
        assert client.stderr is not None
        assert any(line.endswith(" going\n") for line in client.stderr)
        assert daemon.out("ps", "-aq") != ""
        os.killpg(client.pid, end)  # the plugin is a process of its own
        client.stderr.read()
        assert client.wait(WAIT_S) != 0
    deadline = time.monotonic() + WAIT_S
    while daemon.out("ps", "-aq"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert daemon.out("images", "-q", "gone") == ""


def test_builds_run_side_by_side_each_with_its_own_files(daemon: Daemon, tmp_path: Path) -> None:
    results: dict[int, subprocess.CompletedProcess[str]] = {}

    def one(number: int) -> None:
        root = tmp_path / str(number)
        root.mkdir()
        (root / "Dockerfile").write_text(f"FROM busybox\nCOPY f /f\nRUN echo {number} >> /f\n")
        (root / "f").write_text("f\n")
        results[number] = daemon.docker("build", "-q", "-t", f"side:{number}", str(root), check=False)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, result in results.items():
        assert result.returncode == 0, result.stderr
        assert daemon.out("run", "--rm", "--network", "none", f"side:{number}", "cat", "/f") == f"f\n{number}"


def test_compose_builds_its_services(daemon: Daemon, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM busybox\nARG WHICH\nRUN echo $WHICH > /which\n")
    (context / "compose.yaml").write_text(
        "services:\n  one:\n    image: co:1\n    build: {context: ., args: {WHICH: one}}\n"
        "  two:\n    image: co:2\n    build: {context: ., args: {WHICH: two}}\n"
    )
    daemon.docker("compose", "-f", str(context / "compose.yaml"), "-p", "builds", "build")
    for number, which in ((1, "one"), (2, "two")):
        assert daemon.out("run", "--rm", "--network", "none", f"co:{number}", "cat", "/which") == which


def test_bake_builds_the_targets_of_a_file(daemon: Daemon, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM busybox\nRUN echo baked > /b\n")
    (context / "docker-bake.json").write_text(json.dumps({"target": {"default": {"context": ".", "tags": ["bake:1"]}}}))
    daemon.docker("buildx", "bake", "-f", str(context / "docker-bake.json"), cwd=context)
    assert daemon.out("run", "--rm", "--network", "none", "bake:1", "cat", "/b") == "baked"


def test_the_cache_is_shown_and_pruned(daemon: Daemon, build: Build) -> None:
    build("FROM busybox\nRUN echo pruned > /p\n", "-q")
    before = daemon.out("buildx", "du")
    assert re.search(r"^Reclaimable:", before, re.MULTILINE)
    assert "RUN echo pruned > /p" in daemon.out("buildx", "du", "--verbose")
    shown = daemon.out("builder", "prune", "-af")
    assert re.search(r"^Total:", shown, re.MULTILINE)
    assert "RUN echo pruned > /p" not in daemon.out("buildx", "du", "--verbose")


def test_docker_without_buildx_builds_the_classic_way(daemon: Daemon, context: Path, tmp_path: Path) -> None:
    (context / "Dockerfile").write_text("FROM busybox\nRUN echo classic\n")
    bare = {**daemon.environment, "DOCKER_CONFIG": str(tmp_path / "none")}
    for more in ({}, {"DOCKER_BUILDKIT": "0"}):
        argv = [docker_cli(), "-H", daemon.host, "build", str(context)]
        done = subprocess.run(argv, env={**bare, **more}, capture_output=True, text=True, check=True, timeout=120)
        assert "Successfully built" in done.stdout
