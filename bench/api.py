"""The engine's own time: create, start, wait, remove over the API, without any client's cost; and crun's bare run.

crun makes a container of a bundle and nothing else (no network, no log, no record): the floor for the start.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.lab import images, peers

from bench.engines import CortenByDocker, Docker, engines
from bench.measure import table, timed


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)


def call(connection: UnixConnection, method: str, path: str, body: object = None) -> bytes:
    """One request; raises unless it succeeds."""
    data = None if body is None else json.dumps(body)
    connection.request(method, "/v1.43" + path, data, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    text = answer.read()
    if answer.status >= 400:
        raise RuntimeError(f"{method} {path}: {answer.status} {text!r}")
    return text


def life(connection: UnixConnection) -> dict[str, float]:
    """Seconds of each step of a container that runs `true` on the default bridge."""
    spent: dict[str, float] = {}

    def step(name: str, method: str, path: str, body: object = None) -> bytes:
        begun = time.perf_counter()
        text = call(connection, method, path, body)
        spent[name] = time.perf_counter() - begun
        return text

    cid = json.loads(step("create", "POST", "/containers/create", {"Image": "busybox", "Cmd": ["true"]}))["Id"]
    step("start", "POST", f"/containers/{cid}/start")
    step("wait", "POST", f"/containers/{cid}/wait")
    step("remove", "DELETE", f"/containers/{cid}")
    spent["total"] = sum(spent.values())
    return spent


@contextlib.contextmanager
def crun_bundle() -> Iterator[list[str]]:
    """The command that runs `true` of a busybox bundle with crun, entered by nsenter as all peers."""
    with tempfile.TemporaryDirectory(prefix="corten-bench-", dir="/var/tmp") as directory:
        bundle = Path(directory)
        (bundle / "rootfs").mkdir()
        subprocess.run(["tar", "-xf", images.busybox_rootfs(), "-C", bundle / "rootfs"], check=True)
        inside = peers.Inside(bundle)
        try:
            subprocess.run(inside.argv("crun", "spec", "-b", "/lab-shared"), check=True, capture_output=True)
            config = json.loads((bundle / "config.json").read_text())
            config["process"].update(terminal=False, args=["true"])
            config["linux"]["cgroupsPath"] = "/lab-crun/bench"
            (bundle / "config.json").write_text(json.dumps(config))
            yield inside.argv("crun", "--cgroup-manager=cgroupfs", "run", "-b", "/lab-shared", "bench")
        finally:
            inside.stop()


def main() -> None:
    """Optional argument: the number of rounds (default 20)."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    with engines("docker") as found, crun_bundle() as crun:
        sockets = {
            engine.name: UnixConnection(engine.argv()[2].removeprefix("unix://"))
            for engine in found
            if isinstance(engine, CortenByDocker | Docker)
        }
        samples: dict[str, dict[str, list[float]]] = {}
        for number in range(rounds + 2):
            for name, connection in sockets.items():
                for step, seconds in life(connection).items():
                    if number >= 2:
                        samples.setdefault(step, {}).setdefault(name, []).append(seconds)
                time.sleep(0.05)
            if number >= 2:
                samples.setdefault("total", {}).setdefault("crun alone", []).append(timed(crun))
        for step, values in samples.items():
            table(f"{step} over the API", values)


if __name__ == "__main__":
    main()
