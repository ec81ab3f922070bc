"""`COPY --link` and `ADD --link` with a real engine: layers that do not depend on what they go upon."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.lab import images
from tests.lab.daemon import Daemon, running_daemon

Build = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module", params=["erofs", "overlay2"])
def daemon(request: pytest.FixtureRequest) -> Iterator[Daemon]:
    with running_daemon("--storage-driver", request.param) as engine:
        engine.environment["DOCKER_BUILDKIT"] = "0"
        engine.docker("load", "-i", str(images.busybox()))
        yield engine


@pytest.fixture
def build(daemon: Daemon, tmp_path: Path) -> Build:
    context = tmp_path / "context"
    (context / "dir/sub").mkdir(parents=True)
    (context / "f").write_text(f"{tmp_path}\n")  # another one for each test
    (context / "dir/sub/g").write_text("g\n")

    def run(dockerfile: str, *flags: str) -> subprocess.CompletedProcess[str]:
        (context / "Dockerfile").write_text(dockerfile)
        return daemon.corten("build", "-t", "t:1", "--progress", "plain", *flags, str(context), check=False)

    return run


def layers(daemon: Daemon) -> list[str]:
    found: list[str] = json.loads(daemon.out("image", "inspect", "-f", "{{json .RootFS.Layers}}", "t:1"))
    return found


def run(daemon: Daemon, script: str) -> list[str]:
    return daemon.out("run", "--rm", "--network", "none", "t:1", "sh", "-c", script).split()


COPIES = "COPY --link f /new/f\nADD --link dir /etc/dir\n"


def test_another_base_takes_the_same_layers_and_a_rebuilt_one_does_not_copy_again(daemon: Daemon, build: Build) -> None:
    assert build("FROM busybox\nRUN echo 1 > /base\n" + COPIES + "RUN cat /new/f > /seen\n").returncode == 0
    first = layers(daemon)
    done = build("FROM busybox\nRUN echo 2 > /base\n" + COPIES + "RUN cat /new/f > /seen\n")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("CACHED") == 2, done.stderr
    second = layers(daemon)
    assert [one == two for one, two in zip(first, second, strict=True)] == [True, False, True, True, False]
    assert run(daemon, "cat /base /etc/dir/sub/g; test -s /seen && stat -c '%a %u %g' /new /etc /") == [
        "2", "g", "755", "0", "0", "755", "0", "0", "755", "0", "0",
    ]  # fmt: skip
    done = build("FROM scratch\nCOPY --link f /new/f\n")
    assert done.stderr.count("CACHED") == 1, done.stderr
    assert layers(daemon) == [first[2]]


def test_what_is_there_is_not_looked_at(daemon: Daemon, build: Build) -> None:
    done = build(
        "FROM busybox\n"
        "RUN mkdir -m 700 /d /real && chown 3:4 /d && touch /d/x && ln -s real /ln && chmod 711 /\n"
        "COPY --link f /d/\nCOPY --link f /ln/\nCOPY --link --chown=5:6 f /o/p/\n"
    )
    assert done.returncode == 0, done.stderr
    assert run(daemon, "stat -c '%a %u %g' /d /o /o/p/f /; ls /d; test -d /ln && ! test -h /ln && ls /ln; ls /real") == [
        "755", "0", "0", "755", "5", "6", "644", "5", "6", "711", "0", "0", "f", "x", "f",
    ]  # fmt: skip


def test_names_and_modes_are_those_of_what_is_there(daemon: Daemon, build: Build) -> None:
    done = build(
        "FROM busybox\nRUN echo me:x:77:88::/:/bin/sh >> /etc/passwd && mkdir -m 700 /d\n"
        "COPY --link --chown=me f /d/\nCOPY --link --chmod=600 f /d/g\n"
    )
    assert done.returncode == 0, done.stderr
    assert run(daemon, "stat -c '%a %u %g' /d /d/f /d/g") == ["700", "0", "0", "644", "77", "88", "600", "0", "0"]


def test_a_failing_copy_is_told_with_its_line_and_nothing_is_kept(daemon: Daemon, build: Build) -> None:
    done = build("FROM busybox\nRUN echo 3 > /base\nCOPY --link absent /x/\n")
    assert done.returncode == 1
    assert "3 | >>> COPY --link absent /x/" in done.stderr
    assert "not found" in done.stderr


def test_layers_live_with_the_cache_and_survive_the_daemon(daemon: Daemon, build: Build) -> None:
    assert build("FROM busybox\n" + COPIES).returncode == 0
    first = layers(daemon)
    daemon.docker("rmi", "-f", "t:1")
    daemon.stop()
    daemon.start()
    done = build("FROM busybox\nRUN echo 4 > /base\n" + COPIES)
    assert done.stderr.count("CACHED") == 2, done.stderr
    assert layers(daemon)[2:] == first[1:]
    assert daemon.corten("fsck").returncode == 0
    daemon.docker("rmi", "-f", "t:1")
    daemon.docker("builder", "prune", "-a", "-f")
    assert build("FROM busybox\n" + COPIES).stderr.count("CACHED") == 0
