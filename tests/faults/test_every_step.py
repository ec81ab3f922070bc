"""kill -9 at every step of pull, unpack, commit, import, load, prune and removal: after a restart fsck is clean, nothing
is left behind, every byte is explained, and what was broken off can be done again.

The steps are those of lib/faultpoint.py. A daemon with all of them armed is worked with until it dies; the next one has
that one less, until nothing kills it any more.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.faults.steps import Steps, kept, problems
from tests.lab.daemon import Daemon, running_daemon

from corten.lib.faultpoint import POINTS
from corten.testing.registry import FakeRegistry

_WAIT_S = 20


@pytest.fixture
def engine() -> Iterator[Daemon]:
    with running_daemon() as one:
        yield one


@pytest.fixture(scope="module")
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as fake:
        yield fake


def settled(daemon: Daemon) -> list[str]:
    """What is wrong when the daemon has had time to delete what it gave up."""
    deadline = time.monotonic() + _WAIT_S
    while (found := problems(daemon)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return found


def killed_at(daemon: Daemon) -> str:
    """The fault point that has ended the daemon."""
    return re.findall(r"^fault point (\S+)$", daemon.log.read_text(), re.MULTILINE)[-1]


def start(daemon: Daemon, left: set[str]) -> list[str]:
    """Start with the points that are left; those that kill the start itself."""
    met = []
    while True:
        daemon.environment["CORTEN_FAULT"] = ",".join(sorted(left))
        try:
            daemon.start()
        except RuntimeError:
            point = killed_at(daemon)
            assert point in left, daemon.log_text()
            left.discard(point)
            met.append(point)
        else:
            return met


def work(steps: Steps, way: str) -> bool:
    """Go the way; False when the daemon died on it."""
    for step in getattr(steps, way)():
        try:
            step()
        except (AssertionError, subprocess.TimeoutExpired):
            if steps.daemon.lives_on():
                raise
        if not steps.daemon.is_running():
            return False
    return True


@pytest.mark.parametrize("way", ["pulling", "loading"])
def test_killed_at_every_step_nothing_is_torn(engine: Daemon, registry: FakeRegistry, tmp_path: Path, way: str) -> None:
    steps = Steps(engine, registry, tmp_path)
    if way == "loading":
        steps.pull()
        steps.save()
        steps.clear()
    engine.stop()
    left = set(POINTS)
    met = start(engine, left)
    while not work(steps, way):
        met.append(killed_at(engine))
        left.discard(met[-1])
        met += start(engine, left)
        assert settled(engine) == [], f"after {met[-1]}"
    assert len(met) == len(set(met))
    assert settled(engine) == []
    steps.clear()
    assert settled(engine) == []
    assert kept(engine) == {}
    assert left == set()  # each point is on each way; one that is new and on none fails here
