"""A daemon that may open few files: it takes what it is allowed, gives containers what it was given, and gets over a lack."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.lab import images
from tests.lab.daemon import Daemon

from corten.testing.registry import FakeRegistry

_SOFT = 200


@pytest.fixture
def engine() -> Iterator[Daemon]:
    one = Daemon()
    try:
        yield one
    finally:
        left = one.clean()
    assert left == []


def crowd(daemon: Daemon, count: int) -> list[socket.socket]:
    """Clients that say nothing."""
    made = []
    for _ in range(count):
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(daemon.socket))
        made.append(client)
    return made


def children(pid: int, name: str) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    pids = [int(word) for task in tasks for word in task.read_text().split()]
    return [child for child in pids if Path(f"/proc/{child}/comm").read_text().strip() == name]


def test_the_daemon_takes_all_it_may_and_containers_get_what_it_was_given(engine: Daemon) -> None:
    engine.wrapper = ("prlimit", f"--nofile={_SOFT}:4096")
    engine.start()
    engine.docker("load", "-q", "-i", str(images.busybox()))
    idle = crowd(engine, 2 * _SOFT)
    assert engine.out("run", "--rm", "busybox", "sh", "-c", "ulimit -Sn; ulimit -Hn").split() == [str(_SOFT), "4096"]
    (zygote,) = children(engine.pid, "corten-zygote")
    os.kill(zygote, signal.SIGKILL)
    assert engine.out("run", "--rm", "busybox", "sh", "-c", "ulimit -Sn").split() == [str(_SOFT)]
    for client in idle:
        client.close()


def test_a_lack_of_descriptors_passes(engine: Daemon) -> None:
    engine.wrapper = ("prlimit", f"--nofile={_SOFT}:{_SOFT}")
    engine.start()
    with FakeRegistry() as registry:
        for number in range(20):
            registry.add_image(f"lab/{number}", "1", files=[{"a": os.urandom(100_000)}, {"b": b"%d" % number}])
        names = [f"{registry.host}/lab/{number}:1" for number in range(20)]
        idle = crowd(engine, 120)
        with ThreadPoolExecutor(20) as pool:
            list(pool.map(lambda name: engine.docker("pull", "-q", name, check=False), names))
        idle += crowd(engine, 100)
        assert engine.is_running()
        for client in idle:
            client.close()
        deadline = time.monotonic() + 20
        while not engine.answers() and time.monotonic() < deadline:
            time.sleep(0.1)
        with ThreadPoolExecutor(20) as pool:
            list(pool.map(lambda name: engine.docker("pull", "-q", name), names))
        assert engine.corten("fsck").returncode == 0
    engine.docker("load", "-q", "-i", str(images.busybox()))
    assert engine.out("run", "--rm", "busybox", "echo", "well") == "well"
    assert len(os.listdir(f"/proc/{engine.pid}/fd")) < _SOFT // 2
