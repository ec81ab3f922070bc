"""`corten build` with a real engine: what the checks found, the lines of what failed, and where the result goes."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.lab import images
from tests.lab.daemon import Daemon, running_daemon

Build = Callable[..., "subprocess.CompletedProcess[str]"]
WARNED = "# check=experimental=all\nFROM busybox\nMAINTAINER me\nCOPY secret.md /\n"


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with running_daemon() as engine:
        engine.environment["DOCKER_BUILDKIT"] = "0"
        engine.docker("load", "-i", str(images.busybox()))
        yield engine


@pytest.fixture
def context(tmp_path: Path) -> Path:
    root = tmp_path / "context"
    root.mkdir()
    (root / "a.txt").write_text("a\n")
    return root


@pytest.fixture
def build(daemon: Daemon, context: Path) -> Build:
    def run(dockerfile: str, *flags: str, **options: Any) -> subprocess.CompletedProcess[str]:
        (context / "Dockerfile").write_text(dockerfile)
        return daemon.corten("build", *flags, str(context), check=False, **options)

    return run


def test_a_check_says_what_is_wrong_and_builds_nothing(daemon: Daemon, build: Build, context: Path) -> None:
    (context / ".dockerignore").write_text("*.md\n")
    found = build(WARNED + "RUN exit 1\n", "--check", "-t", "checked:1")
    assert found.returncode == 1, found.stderr
    assert found.stdout == (
        "Check complete, 2 warnings have been found!\n"
        "\nWARNING: MaintainerDeprecated - https://docs.docker.com/go/dockerfile/rule/maintainer-deprecated/\n"
        "Maintainer instruction is deprecated in favor of using label\n"
        "Dockerfile:3\n--------------------\n"
        "   1 |     # check=experimental=all\n   2 |     FROM busybox\n   3 | >>> MAINTAINER me\n"
        "   4 |     COPY secret.md /\n   5 |     RUN exit 1\n--------------------\n"
        "\nWARNING: CopyIgnoredFile - https://docs.docker.com/go/dockerfile/rule/copy-ignored-file/\n"
        'Attempting to Copy file "secret.md" that is excluded by .dockerignore\n'
        "Dockerfile:4\n--------------------\n"
        "   2 |     FROM busybox\n   3 |     MAINTAINER me\n   4 | >>> COPY secret.md /\n"
        "   5 |     RUN exit 1\n   6 |     \n--------------------\n"
    )
    assert daemon.out("images", "-q", "checked") == ""
    fine = build("FROM busybox\nRUN exit 1\n", "--call=check")
    assert (fine.returncode, fine.stdout) == (0, "Check complete, no warnings found.\n")
    wrong = build("FROM busybox\nRUNN x\n", "--check")
    assert wrong.returncode == 1
    assert "   2 | >>> RUNN x\n" in wrong.stderr


def test_warnings_stand_behind_a_build_and_not_in_the_stream_that_docker_reads(daemon: Daemon, build: Build) -> None:
    text = "FROM busybox AS Up\nLABEL a b\n"
    built = build(text, "-t", "warned:1")
    assert built.returncode == 0, built.stderr
    assert built.stdout == ""
    assert built.stderr.endswith(
        "naming to docker.io/library/warned:1 done\n"
        + built.stderr[built.stderr.rindex("#") :].partition("\n")[0]
        + "\n"
        "\n 2 warnings found (use --debug to expand):\n"
        " - StageNameCasing: Stage name 'Up' should be lowercase (line 1)\n"
        ' - LegacyKeyValueFormat: "LABEL key=value" should be used instead of legacy "LABEL key value" format'
        " (line 2)\n"
    )
    assert "   2 | >>> LABEL a b\n" in build(text, "--debug").stderr
    assert build(text, "-q").stderr == ""
    docker = daemon.docker("build", "-", input=text)
    assert "StageNameCasing" not in docker.stdout + docker.stderr


@pytest.mark.parametrize(
    ("dockerfile", "shown", "error"),
    [
        ("FROM busybox\nRUN true \\\n && exit 3\nCMD x\n", [2, 3], "did not complete successfully: exit code: 3"),
        ("FROM busybox\n\nCOPY nope /\n", [3], '"/nope": not found'),
        ("FROM busybox\nRUNN x\n", [2], "dockerfile parse error on line 2: unknown instruction: RUNN"),
        ("FROM busybox\nENV A=${B:?none}\nRUN x\n", [2], "none"),
    ],
)
def test_a_failure_shows_the_lines_of_its_instruction(
    build: Build, dockerfile: str, shown: list[int], error: str
) -> None:
    failed = build(dockerfile, "--force-rm")
    assert failed.returncode == 1
    lines = failed.stderr.splitlines()
    assert f"Dockerfile:{shown[0]}" in lines, failed.stderr
    assert [int(line.split("|")[0]) for line in lines if "| >>> " in line] == shown
    assert error in failed.stderr
    assert lines[-1].startswith("ERROR: failed to solve: ")
    assert error in lines[-1]


def test_a_quiet_build_that_fails_tells_what_it_was_silent_about(build: Build) -> None:
    failed = build("FROM busybox\nRUN echo said; exit 3\n", "-q", "--force-rm")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr.index(" said\n") < failed.stderr.index("   2 | >>> RUN echo said; exit 3\n")


def test_the_cache_keeps_what_daemon_json_says(tmp_path: Path) -> None:
    (tmp_path / "context").mkdir()
    engine = Daemon()
    (engine.root / "daemon.json").write_text('{"builder": {"gc": {"enabled": true, "defaultKeepStorage": "150KB"}}}')
    with running_daemon(engine=engine):
        engine.docker("load", "-i", str(images.busybox()))

        def is_cached(name: str) -> bool:
            text = f"FROM busybox\nRUN head -c 100000 /dev/zero > /{name}\n"
            built = engine.corten("build", "--network", "none", "-", input=text).stderr
            return built.count("CACHED") == 2  # the base, and the step

        assert not is_cached("one")
        assert is_cached("one")
        assert not is_cached("two")
        assert is_cached("two")
        assert not is_cached("one")
