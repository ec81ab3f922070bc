"""The newest docker command line, buildx and compose that Debian has, against the daemon: what they ask of BuildKit's
API that older ones do not. They are unmodified, and newer with each day: a test names what must work."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.lab import clients, images
from tests.lab.daemon import Daemon, running_daemon
from tests.lab.plugins import with_newest_clients

from corten.spec.digest import digest_of

Build = Callable[..., "subprocess.CompletedProcess[str]"]
WAIT_S = 30
DOCKERFILE = """\
FROM busybox AS base
# what is said
ARG SAID=hello
RUN --mount=type=secret,id=token test "$(cat /run/secrets/token)" = sesame && echo "$SAID"
FROM base AS app
COPY a.txt /a.txt
"""


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with running_daemon() as engine:
        with_newest_clients(engine)
        engine.docker("load", "-i", str(images.busybox()))
        yield engine


@pytest.fixture
def context(tmp_path: Path) -> Path:
    root = tmp_path / "context"
    root.mkdir()
    (root / "a.txt").write_text("a\n")
    (root / "Dockerfile").write_text(DOCKERFILE)
    (root / "token").write_text("sesame")
    (root / ".dockerignore").write_text("token\n")
    return root


@pytest.fixture
def build(daemon: Daemon, context: Path) -> Build:
    def run(*flags: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return daemon.docker("build", "--secret", f"id=token,src={context}/token", *flags, str(context), check=check)

    return run


def blob_of(layout: Path, descriptor: dict[str, str]) -> bytes:
    raw = (layout / "blobs/sha256" / descriptor["digest"].removeprefix("sha256:")).read_bytes()
    assert digest_of(raw) == descriptor["digest"]
    return raw


def metadata(file: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads(file.read_text())
    return found


def ref_of(file: Path) -> str:
    """The build that a metadata file is of."""
    return str(metadata(file)["buildx.build.ref"]).rpartition("/")[2]


def test_the_clients_are_the_newest_of_debian(daemon: Daemon) -> None:
    assert daemon.cli == clients.docker()
    found = re.search(r"(\d+)\.(\d+)\.\d+", daemon.out("buildx", "version"))
    assert found is not None
    assert (int(found[1]), int(found[2])) >= (0, 29)


@pytest.mark.parametrize("progress", ["plain", "rawjson", "quiet"])
def test_builds_with_each_progress(build: Build, daemon: Daemon, progress: str) -> None:
    done = build("--progress", progress, "-t", "shown:1")
    assert ("hello" in done.stderr + done.stdout or "aGVsbG8K" in done.stderr) is (progress != "quiet") or (
        "cached" in done.stderr.lower()
    )
    assert daemon.inspect("shown:1")["Id"]


def test_questions_instead_of_a_build(build: Build) -> None:
    assert "no warnings found" in build("--check").stdout
    assert re.search(r"^SAID +hello", build("--call=outline").stdout, re.MULTILINE)
    assert re.search(r"^app \(default\)", build("--call=targets").stdout, re.MULTILINE)


def test_files_archives_layouts_and_caches_come_to_the_client(build: Build, tmp_path: Path) -> None:
    build("-o", f"type=local,dest={tmp_path}/files")
    assert (tmp_path / "files/a.txt").read_text() == "a\n"
    for kind, member in (("tar", "a.txt"), ("oci", "index.json"), ("docker", "manifest.json")):
        build("-o", f"type={kind},dest={tmp_path}/{kind}.tar")
        with tarfile.open(tmp_path / f"{kind}.tar") as tar:
            assert member in tar.getnames()
    layout = tmp_path / "layout"
    build("-o", f"type=oci,dest={layout},tar=false", "-t", "laid:1")
    index = blob_of(layout, json.loads((layout / "index.json").read_text())["manifests"][0])
    document = json.loads(blob_of(layout, json.loads(index)["manifests"][0]))
    assert [len(blob_of(layout, layer)) for layer in document["layers"]] == [
        layer["size"] for layer in document["layers"]
    ]
    build("--cache-to", f"type=local,dest={tmp_path}/cache,mode=max", "-o", "type=cacheonly")
    done = build("--cache-from", f"type=local,src={tmp_path}/cache", "--progress=plain", "-o", "type=cacheonly")
    assert re.search(r"importing cache manifest from", done.stderr)


@pytest.mark.parametrize("mode", ["min", "max"])
def test_metadata_has_the_provenance(build: Build, daemon: Daemon, tmp_path: Path, mode: str) -> None:
    daemon.environment["BUILDX_METADATA_PROVENANCE"] = mode
    try:
        build("--metadata-file", f"{tmp_path}/m", "-t", "told:1", "--build-arg", "SAID=other")
    finally:
        del daemon.environment["BUILDX_METADATA_PROVENANCE"]
    found = metadata(tmp_path / "m")
    provenance = json.dumps(found["buildx.build.provenance"])
    assert "pkg:docker/busybox@latest" in provenance
    assert ("buildConfig" in provenance) is (mode == "max")
    assert "sesame" not in provenance
    assert found["containerimage.config.digest"] == daemon.inspect("told:1")["Id"]


def test_history_lists_logs_exports_and_removes_builds(
    build: Build, daemon: Daemon, context: Path, tmp_path: Path
) -> None:
    build("--metadata-file", f"{tmp_path}/m", "--build-arg", "SAID=recorded", "-t", "recorded:1", "--no-cache")
    good = ref_of(tmp_path / "m")
    (context / "Fail").write_text("FROM busybox\nRUN echo so; exit 3\n")
    failed = daemon.docker("build", "-f", str(context / "Fail"), str(context), check=False)
    assert failed.returncode == 1

    listed = [json.loads(line) for line in daemon.out("buildx", "history", "ls", "--format", "json").splitlines()]
    bad = listed[0]["ref"].rpartition("/")[2]
    assert [(one["ref"].rpartition("/")[2], one["status"]) for one in listed[:2]] == [
        (bad, "Error"),
        (good, "Completed"),
    ]
    only = daemon.out("buildx", "history", "ls", "--no-trunc", "--filter", "status=error", "--filter", f"ref={bad}")
    assert good not in only
    assert bad in only

    logs = daemon.docker("buildx", "history", "logs", good).stderr
    assert re.search(r"^#\d+ \d+\.\d+ recorded$", logs, re.MULTILINE)
    seen = json.loads(daemon.out("buildx", "history", "inspect", good, "--format", "json"))
    assert seen["BuildArgs"] == [{"Name": "SAID", "Value": "recorded"}]
    assert seen["NumCompletedSteps"] == seen["NumTotalSteps"] > 4
    assert seen["Materials"][0]["URI"].startswith("pkg:docker/busybox@latest")
    attachment = daemon.out("buildx", "history", "inspect", "attachment", good, "--type", "provenance")
    assert json.loads(attachment)["invocation"]["parameters"]["args"]["build-arg:SAID"] == "recorded"
    pretty = daemon.out("buildx", "history", "inspect", bad)
    assert ">>> RUN echo so; exit 3" in pretty
    assert "> so" in pretty

    daemon.out("buildx", "history", "export", "-o", f"{tmp_path}/x.dockerbuild", good)
    with tarfile.open(tmp_path / "x.dockerbuild") as tar:
        assert "index.json" in tar.getnames()
    daemon.out("buildx", "history", "rm", bad)
    assert "no record found" in daemon.docker("buildx", "history", "inspect", bad, check=False).stderr
    daemon.out("buildx", "history", "inspect", good)


def test_a_build_that_runs_and_one_that_was_cancelled(daemon: Daemon, context: Path) -> None:
    (context / "Slow").write_text("FROM busybox\nRUN echo runs; sleep 1000\n")
    argv = [daemon.cli, "-H", daemon.host, "build", "--progress=plain", "-f", str(context / "Slow"), str(context)]
    with subprocess.Popen(argv, env=daemon.environment, stderr=subprocess.PIPE, text=True) as client:
        assert client.stderr is not None
        while (line := client.stderr.readline()) and " runs" not in line:
            pass
        assert "Running" in daemon.out("buildx", "history", "ls")
        client.send_signal(signal.SIGINT)
        client.stderr.read()
    deadline = time.monotonic() + WAIT_S
    while "Running" in daemon.out("buildx", "history", "ls") and time.monotonic() < deadline:
        time.sleep(0.1)
    assert "Canceled" in daemon.out("buildx", "history", "inspect")
    assert len(daemon.out("buildx", "history", "ls", "--filter", "status=canceled").splitlines()) == 2


def test_history_outlives_the_daemon_and_has_no_secrets(build: Build, daemon: Daemon, tmp_path: Path) -> None:
    build("--metadata-file", f"{tmp_path}/m", "--build-arg", "http_proxy=http://u:sesame@127.0.0.1:1", "--no-cache")
    ref = ref_of(tmp_path / "m")
    daemon.out("buildx", "history", "inspect", ref)
    daemon.kill()
    daemon.start()
    assert "hello" in daemon.docker("buildx", "history", "logs", ref).stderr
    kept = [path for path in (daemon.data_root / "build-history").rglob("*") if path.is_file()]
    assert kept
    for path in kept:
        raw = path.read_bytes()
        assert b":sesame" not in raw
        assert base64.b64encode(b"sesame")[:-2] not in raw
    daemon.out("buildx", "history", "rm", "--all")
    assert list((daemon.data_root / "build-history").iterdir()) == []


BAKE = """
variable "WHO" { default = "bake" }
group "default" { targets = ["app", "many"] }
target "base" {
  dockerfile-inline = "FROM busybox\\nARG WHO\\nRUN echo from $WHO > /base\\nENV BASE=1"
  args = { WHO = WHO }
}
target "app" {
  contexts = { base = "target:base", files = "target:files" }
  dockerfile-inline = "FROM base\\nCOPY --from=files /f /f\\nRUN cat /base /f > /app && echo $BASE >> /app"
  tags = ["baked:1"]
}
target "files" {
  dockerfile-inline = "FROM scratch\\nCOPY a.txt /f"
}
target "many" {
  name = "many-${v}"
  matrix = { v = ["1", "2"] }
  args = { V = v }
  dockerfile-inline = "FROM busybox\\nARG V\\nRUN echo $V > /v"
  tags = ["many:${v}"]
}
"""


def test_bake_links_targets(daemon: Daemon, context: Path) -> None:
    (context / "docker-bake.hcl").write_text(BAKE)
    assert "many-2" in json.loads(daemon.out("buildx", "bake", "--print", cwd=context))["target"]
    assert "WHO" in daemon.out("buildx", "bake", "--list=variables", cwd=context)
    for _again in range(2):
        done = daemon.docker("buildx", "bake", cwd=context)
        assert daemon.out("run", "--rm", "baked:1", "cat", "/app") == "from bake\na\n1"
        assert daemon.out("run", "--rm", "many:2", "cat", "/v") == "2"
    assert "CACHED" in done.stderr
    daemon.docker("buildx", "bake", "--metadata-file", "told", cwd=context)
    told = metadata(context / "told")
    materials = json.dumps(told["app"]["buildx.build.provenance"]["materials"])  # type: ignore[index]
    assert re.search(r'"uri": "sha256:', materials)
    assert "input://" not in json.dumps(told)
    broken = BAKE.replace('COPY a.txt /f"', 'COPY nothere /f"')
    (context / "docker-bake.hcl").write_text(broken)
    assert "nothere" in daemon.docker("buildx", "bake", cwd=context, check=False).stderr


def test_compose_builds_services_of_one_another(daemon: Daemon, context: Path) -> None:
    (context / "compose.yaml").write_text(
        """
services:
  base:
    image: composed-base:1
    build: {context: ., dockerfile_inline: "FROM busybox\\nRUN echo composed > /c\\n"}
    command: "true"
  app:
    image: composed:1
    build:
      context: .
      additional_contexts: {base: "service:base"}
      dockerfile_inline: "FROM base\\nRUN cat /c\\n"
    command: cat /c
"""
    )
    daemon.docker("compose", "build", cwd=context)
    assert daemon.out("run", "--rm", "composed:1", "cat", "/c") == "composed"
    try:
        up = daemon.docker("compose", "up", "--build", cwd=context)
        assert re.search(r"app-1 .*composed", up.stdout)
    finally:
        daemon.docker("compose", "down", cwd=context)


def test_the_cache_is_told_and_pruned(daemon: Daemon, build: Build) -> None:
    build()
    assert re.search(r"^Total:\s+\d", daemon.out("buildx", "du"), re.MULTILINE)
    daemon.out("buildx", "prune", "-af")
    assert re.search(r"^Total:\s+0B", daemon.out("buildx", "du"), re.MULTILINE)


def test_nothing_of_a_build_stays_behind_but_cache_and_history(daemon: Daemon, build: Build) -> None:
    build()
    assert daemon.out("ps", "-aq") == ""
    assert os.listdir(daemon.data_root / "build-history")
