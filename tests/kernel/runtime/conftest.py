"""What every runtime test must leave as it was: descriptors, mounts and children of the test process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """After a test: no open descriptor, no mount and no child more than before."""
    descriptors, mounts = set(os.listdir("/proc/self/fd")), Path("/proc/self/mountinfo").read_text()
    yield
    assert set(os.listdir("/proc/self/fd")) <= descriptors
    assert Path("/proc/self/mountinfo").read_text() == mounts
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    assert children == []
