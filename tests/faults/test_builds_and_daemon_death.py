"""kill -9 and SIGTERM in the middle of a build: no container, mount or file stays, and the next build goes on from the last
step that was finished."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.lab import images
from tests.lab.daemon import REPOSITORY, Daemon, running_daemon

DOCKERFILE = """\
FROM busybox AS other
RUN echo other > /other
FROM busybox
RUN head -c 8 /dev/urandom | base64 > /random
RUN --mount=type=bind,target=/c --mount=type=bind,target=/w,rw --mount=type=bind,from=other,target=/o,rw \\
 echo going > /w/x; cat /w/x; test ! -e /c/wait || sleep 1000
"""


@pytest.fixture
def engine() -> Iterator[Daemon]:
    with running_daemon() as one:
        one.docker("load", "-i", str(images.busybox()))
        yield one


def settled(engine: Daemon) -> list[str]:
    """What is left when the daemon has had time to remove it."""
    deadline = time.monotonic() + 30
    while (left := left_of(engine)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def left_of(engine: Daemon) -> list[str]:
    """What a build has outside of its cache."""
    mounts = [line for line in Path("/proc/mounts").read_text().splitlines() if str(engine.root) in line]
    homes = [str(path) for path in (engine.exec_root / "build").glob("*")]
    homes += [str(path) for path in (engine.data_root / "tmp").glob("shown/*")]
    snapshots = [str(path) for path in (engine.data_root / "snapshots").glob("*/c/*")]
    return [*mounts, *homes, *snapshots, *engine.out("ps", "-aq").split()]


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_a_build_that_the_daemons_end_cut_off_leaves_its_finished_steps_alone(
    engine: Daemon, tmp_path: Path, end: str
) -> None:
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    (tmp_path / "wait").touch()
    argv = [str(REPOSITORY / "bin/corten"), "-H", engine.host, "build", "-t", "t:1", str(tmp_path)]
    environment = {**engine.environment, "CORTEN_PYTHON": ""}
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as client:
        assert client.stderr is not None
        for line in client.stderr:
            if line.endswith(" going\n"):
                break
        getattr(engine, end)()
        client.communicate(timeout=60)
        assert client.returncode != 0
    engine.start()
    assert settled(engine) == []
    (tmp_path / "wait").unlink()
    output = engine.corten("build", "-t", "t:1", str(tmp_path)).stderr
    assert output.count("CACHED") == 3  # and the base
    assert engine.corten("fsck").stdout
    assert settled(engine) == []
