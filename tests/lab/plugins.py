"""Docker's command line with buildx and compose: plugins of the peers' folder, or the newest that there are."""

from __future__ import annotations

from pathlib import Path

from tests.lab import clients, peers
from tests.lab.daemon import Daemon


def with_newest_clients(daemon: Daemon) -> None:
    """Let `daemon.docker` be the newest command line, with the newest plugins."""
    daemon.cli = clients.docker()
    with_plugins(daemon, clients.plugins())


def with_plugins(daemon: Daemon, folder: Path | None = None) -> None:
    """Let `daemon.docker` build with buildx, which is BuildKit's client, and know `compose`."""
    folder = folder or peers.folder() / "usr/libexec/docker/cli-plugins"
    home = Path(daemon.environment["DOCKER_CONFIG"]) / "cli-plugins"
    home.mkdir(parents=True, exist_ok=True)
    for name in ("docker-buildx", "docker-compose"):
        (home / name).unlink(missing_ok=True)
        (home / name).symlink_to(folder / name)
    daemon.environment["BUILDKIT_PROGRESS"] = "plain"
