"""The docker client with its buildx plugin, so that `docker build` speaks BuildKit's API to a daemon of the tests."""

from __future__ import annotations

from pathlib import Path

from tests.lab import peers
from tests.lab.daemon import Daemon


def give_buildx(daemon: Daemon) -> Daemon:
    """The peers' plugin for this daemon's clients."""
    plugin = peers.folder() / "usr/libexec/docker/cli-plugins/docker-buildx"
    plugins = Path(daemon.environment["DOCKER_CONFIG"]) / "cli-plugins"
    plugins.mkdir(parents=True, exist_ok=True)
    if not (plugins / plugin.name).exists():
        (plugins / plugin.name).symlink_to(plugin)
    return daemon
