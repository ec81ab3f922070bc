"""Three replicas under requests that never pause: killed, added, drained, the daemon killed in between; from a container
by the service's name, and from the host through a port that all of them publish."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.lab import images, load_client
from tests.lab.daemon import Daemon, running_daemon

# Answers with its name, a moment later: a connection is cut when the server ends before that.
SERVER = """
import http.server, os, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        time.sleep(0.01)
        body = os.uname().nodename.encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128
server = Server(("", 80), Handler)
open("/tmp/ready", "w").close()
server.serve_forever()
"""
NAMES = ("web-a", "web-b", "web-c")
# The machine's own Python in a container of busybox: an image that has one takes longer to load than all of this. Its
# program is a copy, since no container may run the very file that the engine's own processes run.
PYTHON = "/python/python3"
FOLDERS = [folder for folder in dict.fromkeys(["/usr", "/lib", "/lib64", sys.base_prefix]) if os.path.isdir(folder)]
DRAIN = "20s"
REQUESTS = 150


class Request(NamedTuple):
    began: float
    ended: float
    result: str


class Load:
    """What a load client has written."""

    def __init__(self, name: str, file: Path) -> None:
        self.name = name
        self._file = file
        self._file.touch()

    def requests(self) -> list[Request]:
        lines = self._file.read_text().rpartition("\n")[0].splitlines()
        split = [line.split(" ", 2) for line in lines]
        return [Request(float(began), float(ended), result) for began, ended, result in split]

    def since(self, began: float, least: int = REQUESTS) -> list[Request]:
        """The requests that began after a moment, at least so many."""
        deadline = time.monotonic() + 60
        while True:
            found = [request for request in self.requests() if request.began > began]
            if len(found) >= least:
                return found
            assert time.monotonic() < deadline, f"{self.name}: {len(found)} requests, {self.requests()[-3:]}"
            time.sleep(0.05)

    def failures(self, began: float = 0.0) -> list[Request]:
        return [request for request in self.requests() if request.result.startswith("!") and request.began > began]


def now() -> float:
    return time.monotonic()


def wait_for(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def with_python(daemon: Daemon) -> list[str]:
    """Flags of `run`, for a container that runs PYTHON."""
    folders = [flag for folder in FOLDERS for flag in ("-v", f"{folder}:{folder}:ro")]
    return [*folders, "-v", f"{daemon.root}/python:/python:ro", "-e", f"PYTHONHOME={sys.base_prefix}"]


@pytest.fixture(scope="module")
def engine() -> Iterator[Daemon]:
    with running_daemon() as daemon:
        (daemon.root / "python").mkdir()
        shutil.copy(os.path.realpath(sys.executable), daemon.root / PYTHON.lstrip("/"))
        daemon.docker("load", "-i", str(images.busybox()))
        yield daemon


def replica(daemon: Daemon, name: str, port: int) -> None:
    """A replica, and the wait until its health check says that it serves."""
    labels = ["-l", "corten.service=web", "-l", f"corten.service.drain={DRAIN}"]
    health = ["--health-cmd", "test -e /tmp/ready", "--health-interval", "200ms", "--health-timeout", "20s"]
    flags = ["--network", "app", "-p", f"{port}:80", "-h", name, "--name", name, *labels, *health]
    daemon.docker("run", "-d", *flags, *with_python(daemon), "busybox", PYTHON, "-c", SERVER)


def healthy(daemon: Daemon, *names: str) -> None:
    wait_for(lambda: states(daemon, *names) == dict.fromkeys(names, "serving") and all_healthy(daemon, *names))


def members(daemon: Daemon) -> list[dict[str, object]]:
    (service,) = json.loads(daemon.corten("service", "inspect", "web").stdout)
    return list(service["Members"])


def states(daemon: Daemon, *names: str) -> dict[object, object]:
    return {member["Name"]: member["State"] for member in members(daemon) if not names or member["Name"] in names}


def all_healthy(daemon: Daemon, *names: str) -> bool:
    return all(member["Health"] == "healthy" for member in members(daemon) if member["Name"] in names)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.fixture
def loads(engine: Daemon, tmp_path: Path) -> Iterator[tuple[list[Load], int]]:
    """Three healthy replicas a, b and c, and two clients at work."""
    port = free_port()
    engine.docker("network", "create", "app")
    for name in NAMES:
        replica(engine, name, port)
    healthy(engine, "web-a", "web-b", "web-c")
    program = load_client.__file__
    mounts = ["-v", f"{program}:/load_client.py:ro", "-v", f"{tmp_path}:/out"]
    command = [PYTHON, "/load_client.py", "web", "80", "/out/inside", "4"]
    engine.docker(
        "run", "-d", "--name", "client", "--network", "app", *mounts, *with_python(engine), "busybox", *command
    )
    outside = subprocess.Popen([sys.executable, program, "127.0.0.1", str(port), str(tmp_path / "outside"), "4"])
    try:
        yield [Load("inside", tmp_path / "inside"), Load("outside", tmp_path / "outside")], port
    finally:
        outside.kill()
        outside.wait()
        engine.docker("rm", "-f", *engine.out("ps", "-aq").split())
        engine.docker("network", "rm", "app")


def assert_even(requests: list[Request], names: str) -> None:
    """Within a tenth of even."""
    got = Counter(request.result for request in requests)
    assert set(got) == set(names)
    assert all(abs(count - len(requests) / len(names)) <= 0.1 * len(requests) / len(names) for count in got.values()), (
        got
    )


def test_no_request_fails_once_a_removal_has_taken_effect(engine: Daemon, loads: tuple[list[Load], int]) -> None:
    clients, port = loads
    for load in clients:
        assert_even(load.since(0.0), NAMES)

    engine.docker("kill", "web-a")
    killed = now()
    for load in clients:
        assert_even(load.since(killed), ("web-b", "web-c"))
        assert load.failures(killed) == []
    failed = {load.name: len(load.failures()) for load in clients}  # those that it was answering when it was killed

    engine.kill()
    died = now()
    for load in clients:
        assert_even(load.since(died), ("web-b", "web-c"))
    engine.start()
    wait_for(lambda: all_healthy(engine, "web-b", "web-c"))

    replica(engine, "web-d", port)
    healthy(engine, "web-d")
    added = now()
    for load in clients:
        assert_even(load.since(added), ("web-b", "web-c", "web-d"))

    engine.docker("stop", "-t", "0", "web-b")  # what it has is over before it hears of that
    stopped = now()
    for load in clients:
        assert_even(load.since(stopped), ("web-c", "web-d"))
        assert {load.name: len(load.failures()) for load in clients} == failed

    listed = engine.corten("service", "ls", "--format", "{{.Name}} {{.Network}} {{.Balance}} {{.Members}} {{.Ports}}")
    assert listed.stdout.splitlines() == [f"web app round-robin 2/2 0.0.0.0:{port}->80/tcp, [::]:{port}->80/tcp"]
    counted = {member["Name"]: member["Connections"] for member in members(engine)}
    assert all(count >= REQUESTS for count in counted.values() if isinstance(count, int))
    engine.docker("stop", "-t", "0", "web-c", "web-d")
    emptied = now()
    for load in clients:
        assert {request.result for request in load.since(emptied, 5)} == {
            "!ConnectionRefusedError(111, 'Connection refused')"
        }


def test_a_stop_waits_no_longer_than_the_time_to_drain(engine: Daemon) -> None:
    engine.docker("network", "create", "one")
    labels = ["-l", "corten.service=slow", "-l", "corten.service.drain=1s"]
    echo = "import socket; s = socket.create_server(('', 80)); c, _ = s.accept(); print('in', flush=True); c.recv(1)"
    cid = engine.out("run", "-d", "--network", "one", *labels, *with_python(engine), "busybox", PYTHON, "-c", echo)
    (service,) = json.loads(engine.corten("service", "inspect", "one/slow").stdout)
    wait_for(lambda: reaches(service["Addresses"][0]))
    wait_for(lambda: "in" in engine.out("logs", cid))
    engine.docker("stop", "-t", "0", cid)
    assert engine.corten("service", "ls", "-q").stdout.strip() == service["ID"][:12]
    engine.docker("rm", cid)
    assert engine.corten("service", "ls", "-q").stdout == ""
    engine.docker("network", "rm", "one")


_kept: list[socket.socket] = []


def reaches(address: str) -> bool:
    """Whether a connection comes about, which is kept open."""
    try:
        _kept.append(socket.create_connection((address, 80), 5))
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    ("label", "text"),
    [("weight=0", "want a number from 1 to 100"), ("balance=fair", "use one of"), ("drain=soon", "want a time")],
)
def test_labels_that_say_nothing_are_refused(engine: Daemon, label: str, text: str) -> None:
    result = engine.docker("create", "-l", f"corten.service.{label}", "busybox", check=False)
    assert result.returncode == 1
    assert f"invalid label corten.service.{label.partition('=')[0]}" in result.stderr
    assert text in result.stderr
