"""docker compose and services: `--scale`, one port for all replicas, a service's name that is one address."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.lab import peers
from tests.lab.daemon import Daemon

PROJECT = """
services:
  web:
    image: busybox
    command: ["sh", "-c", "mkdir /w; hostname > /w/index.html; exec httpd -f -h /w"]
    labels: {corten.service: shop}
    healthcheck: {test: ["CMD", "wget", "-qO-", "localhost"], interval: 200ms, timeout: 20s}
    ports: ["127.0.0.1:18473:80"]
    networks: [app]
    stop_grace_period: 0s
networks:
  app:
    driver_opts: {corten.services: vip}
"""


@pytest.fixture
def project(daemon: Daemon) -> Iterator[Path]:
    folder = daemon.root / "shop"
    folder.mkdir()
    (folder / "compose.yaml").write_text(PROJECT)
    yield folder
    compose(daemon, folder, "down", "-t", "0")


def compose(daemon: Daemon, folder: Path, *arguments: str) -> None:
    program = peers.folder() / "usr/libexec/docker/cli-plugins/docker-compose"
    argv = [str(program), "-f", str(folder / "compose.yaml"), *arguments]
    environment = {**daemon.environment, "DOCKER_HOST": daemon.host}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, f"{done.stderr}\n{daemon.log_text()}"


def fetch(times: int) -> list[int]:
    """How often each of those that answer on the published port did so."""
    got = Counter(urllib.request.urlopen("http://127.0.0.1:18473/", timeout=20).read() for _ in range(times))
    return sorted(got.values())


def test_scaling_up_and_down_changes_who_serves(daemon: Daemon, project: Path) -> None:
    compose(daemon, project, "up", "-d", "--wait", "--scale", "web=3")
    assert fetch(12) == [4, 4, 4]
    services = {name: json.loads(daemon.corten("service", "inspect", name).stdout)[0] for name in ("shop", "web")}
    assert all(len(service["Members"]) == 3 for service in services.values())
    (address,) = services["web"]["Addresses"]
    looked_up = daemon.out("run", "--rm", "--network", "shop_app", "busybox", "nslookup", "-type=a", "web")
    assert address in looked_up
    ask = "for n in 1 2 3 4 5 6; do wget -qO- http://web/; done"
    answers = daemon.out("run", "--rm", "--network", "shop_app", "busybox", "sh", "-c", ask).split()
    assert sorted(Counter(answers).values()) == [2, 2, 2]
    compose(daemon, project, "up", "-d", "--wait", "--scale", "web=2")
    assert fetch(8) == [4, 4]
    paused = daemon.out("ps", "-q").split()[0]
    daemon.docker("pause", paused)
    assert fetch(4) == [4]
    daemon.stop()
    daemon.start()
    assert fetch(4) == [4], "who is paused gets nothing after a restart of the daemon either"
    daemon.docker("unpause", paused)
    assert fetch(4) == [2, 2]
    compose(daemon, project, "down", "-t", "0")
    assert daemon.corten("service", "ls", "-q").stdout == ""
