"""Docker's command line with buildx and compose, the plugins of the peers' folder."""

from __future__ import annotations

from pathlib import Path

from tests.lab import peers
from tests.lab.daemon import Daemon


def with_plugins(daemon: Daemon) -> None:
    """Let `daemon.docker` build with buildx, which is BuildKit's client, and know `compose`."""
    home = Path(daemon.environment["DOCKER_CONFIG"]) / "cli-plugins"
    home.mkdir(parents=True, exist_ok=True)
    for name in ("docker-buildx", "docker-compose"):
        (home / name).unlink(missing_ok=True)
        (home / name).symlink_to(peers.folder() / "usr/libexec/docker/cli-plugins" / name)
    daemon.environment["BUILDKIT_PROGRESS"] = "plain"
