"""A client that leaves its build at any moment leaves finished steps and nothing else: no container, mount, group, link or
open file, and the next build does what is left to do."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.faults.test_builds_and_daemon_death import settled
from tests.lab import images
from tests.lab.daemon import REPOSITORY, Daemon, running_daemon

_WAIT_S = 30
_MOMENTS = 12
DOCKERFILE = """\
FROM busybox AS one
COPY . /context
RUN --mount=type=bind,target=/c,rw --mount=type=cache,target=/cache echo one > /one; echo x > /c/x; echo x >> /cache/x
FROM busybox AS two
RUN --mount=type=bind,from=one,target=/o --mount=type=tmpfs,target=/t cat /o/one > /two; echo said; sleep 0.1
FROM busybox AS three
ADD archive.tar /unpacked/
RUN ls /unpacked; sleep 0.1; echo three > /three
FROM busybox
COPY --from=two /two /
COPY --from=three /three /
RUN cat /two /three > /all
"""


@pytest.fixture
def context(tmp_path: Path) -> Path:
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    for number in range(100):
        (tmp_path / f"f{number}").write_bytes(os.urandom(2000))
    subprocess.run(["tar", "-cf", "archive.tar", *(f"f{number}" for number in range(50))], cwd=tmp_path, check=True)
    return tmp_path


@pytest.fixture(params=["", "overlay2"], ids=["probed", "overlay2"])
def engine(request: pytest.FixtureRequest) -> Iterator[Daemon]:
    with running_daemon(*(["--storage-driver", request.param] if request.param else [])) as one:
        one.docker("load", "-i", str(images.busybox()))
        yield one


def begun(engine: Daemon, context: Path) -> subprocess.Popen[str]:
    """A build that tells each of its changes in a line of standard error."""
    argv = [
        str(REPOSITORY / "bin/corten"),
        "-H",
        engine.host,
        "build",
        "--no-cache",
        "--progress=rawjson",
        str(context),
    ]
    environment = {**engine.environment, "CORTEN_PYTHON": ""}
    return subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment)


def held(engine: Daemon) -> list[str]:
    """What the daemon has for containers that run: groups, links, and files that are open below its roots."""
    files = set()
    for fd in os.listdir(f"/proc/{engine.pid}/fd"):
        with suppress(FileNotFoundError):
            files.add(os.readlink(f"/proc/{engine.pid}/fd/{fd}"))
    # sandboxes that wait for the next container have groups and links, too
    prepared = [path.name for path in (engine.exec_root / "shim").iterdir()]
    links = [name for name in engine.ports() if not any(name.startswith(f"veth{cid[:9]}") for cid in prepared)]
    groups = [path for path in engine.cgroups() if Path(path).name not in prepared]
    return [*sorted(path for path in files if path.startswith("/")), *links, *groups]


def test_a_build_that_is_left_at_any_moment_leaves_nothing(engine: Daemon, context: Path) -> None:
    with begun(engine, context) as client:
        assert client.stderr is not None
        lines = len(client.stderr.readlines())
    assert client.returncode == 0
    draw = random.Random(1)
    assert settled(engine) == []
    before = held(engine)
    for number in range(_MOMENTS):
        with begun(engine, context) as client:
            assert client.stderr is not None
            for _ in range(number * lines // _MOMENTS):
                client.stderr.readline()
            time.sleep(draw.uniform(0, 0.1))  # in between
            client.send_signal(signal.SIGINT if number % 2 else signal.SIGKILL)
            client.stderr.read()
        assert settled(engine) == [], number
    deadline = time.monotonic() + _WAIT_S
    while [what for what in held(engine) if what not in before]:
        assert time.monotonic() < deadline, sorted(set(held(engine)) - set(before))
        time.sleep(0.05)
    assert engine.corten("fsck").returncode == 0
    engine.corten("build", "-t", "t:1", str(context))
    assert engine.out("run", "--rm", "--network", "none", "t:1", "cat", "/all") == "one\nthree"
    assert "Traceback" not in engine.log_text()
