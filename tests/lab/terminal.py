"""A client in a pseudo-terminal: type, resize, read until, exit status."""

from __future__ import annotations

import sys

import pexpect

from tests.lab.daemon import REPOSITORY, Daemon, docker_cli


def docker_in_terminal(daemon: Daemon, *arguments: str, rows: int = 30, columns: int = 100) -> pexpect.spawn:
    """The docker CLI as a person runs it; `expect` raises with what was seen after 30 s."""
    return pexpect.spawn(
        docker_cli(),
        ["-H", daemon.host, *arguments],
        env=daemon.environment,
        dimensions=(rows, columns),
        timeout=30,
        encoding="utf-8",
    )


def corten_in_terminal(daemon: Daemon, *arguments: str, rows: int = 30, columns: int = 100) -> pexpect.spawn:
    """Corten's CLI likewise."""
    return pexpect.spawn(
        sys.executable,
        ["-I", "-S", str(REPOSITORY / "src/corten/__main__.py"), "-H", daemon.host, *arguments],
        env=daemon.environment,
        dimensions=(rows, columns),
        timeout=30,
        encoding="utf-8",
    )
