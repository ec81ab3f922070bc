"""Fixtures of the tests that need a real engine: one daemon a module, with busybox loaded, gone without trace."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.lab import images
from tests.lab.daemon import Daemon, running_daemon

# a busy machine is no bug: examples have no time limit
settings.register_profile("corten", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("corten")


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    """A running daemon of this module's own, busybox:latest loaded."""
    with running_daemon() as engine:
        engine.docker("load", "-i", str(images.busybox()))
        yield engine


@pytest.fixture
def cid(daemon: Daemon) -> Iterator[str]:
    """A container that runs `sleep` and answers SIGTERM at once, removed afterwards."""
    container = daemon.out("run", "-d", "--init", "busybox", "sleep", "1000")
    yield container
    daemon.docker("rm", "-f", "-v", container, check=False)
