"""A root file system of busybox for tests that make containers below the engine; each test has its own copy."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from tests.lab.images import busybox_rootfs


@pytest.fixture
def busybox_root(tmp_path: Path) -> Path:
    """A directory with busybox and its links, /etc, /tmp, /root and no mount points."""
    root = tmp_path / "rootfs"
    root.mkdir()
    subprocess.run(["tar", "-xpf", busybox_rootfs(), "-C", root], check=True)
    return root
