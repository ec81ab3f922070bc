"""Pulls, builds, containers, removals, prunes and kill -9 in any order and at once, for a while: nothing is torn, nothing is left.

On demand (CONTRIBUTING.md).
"""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from tests.faults.steps import kept, problems
from tests.lab.daemon import Daemon

from corten.testing.registry import FakeRegistry, Fault

_SECONDS = float(os.environ.get("CORTEN_STRESS_S", "60"))
_SEED = int(os.environ.get("CORTEN_STRESS_SEED", "1"))
_WORKERS = 6
_WAIT_S = 30
_IMAGES = 4
# What a client may be told while others remove what it uses, and the daemon dies under it.
_EXPECTED = (
    "No such image", "no such image", "No such container", "is already in progress", "conflict:", "Conflict", "in use",
    "Cannot connect to the", "EOF", "connection reset", "broken pipe", "context canceled", "not found",
    "is being written by somebody else", "was removed meanwhile", "prune operation is already running", "500 Internal",
    "unexpected HTTP status: 503", "verification failed for digest", "wanted sha256:", "error during connect", "the engine went away", "the connection to the engine broke", "the engine closed the connection", "is not here", "not mounted", "is mounted at", "503",
)  # fmt: skip

pytestmark = pytest.mark.slow


@pytest.fixture(params=["overlay2", ""], ids=["overlay2", "probed"])
def engine(request: pytest.FixtureRequest) -> Iterator[Daemon]:
    flags = ["--storage-driver", request.param] if request.param else []
    one = Daemon(*flags).start()
    try:
        yield one
    finally:
        unmount_all(one)
        left = one.clean()
    assert left == []


def unmount_all(daemon: Daemon) -> None:
    """Unmount images that a killed daemon has left mounted, as it should."""
    for target in daemon.corten("image", "mount", "--format", "{{.Target}}").stdout.split():
        daemon.corten("image", "unmount", target)


class Stress:
    """Workers that do what they draw, until they are told to stop; what should not have been said is kept."""

    def __init__(self, daemon: Daemon, registry: FakeRegistry) -> None:
        self.daemon = daemon
        self.registry = registry
        self.stop = threading.Event()
        self.unexpected: list[str] = []
        self.done = 0
        shared = {"bin/tool": os.urandom(300_000)}
        for number in range(_IMAGES):
            own = {f"own{number}": random.Random(number).randbytes(200_000)}
            registry.add_image(
                f"lab/{number}", "1", files=[shared, own] if number % 2 else [shared, own, {"top": b"1"}]
            )
        self.names = [f"{registry.host}/lab/{number}:1" for number in range(_IMAGES)]

    def run(self) -> None:
        threads = [threading.Thread(target=self._work, args=(random.Random(_SEED * 100 + n),)) for n in range(_WORKERS)]
        for thread in threads:
            thread.start()
        draw, end = random.Random(_SEED), time.monotonic() + _SECONDS
        while time.monotonic() < end:
            time.sleep(draw.uniform(0.5, 5))
            self.daemon.kill()
            self.daemon.start()
        self.stop.set()
        for thread in threads:
            thread.join()

    def _work(self, draw: random.Random) -> None:
        ways: list[Callable[[random.Random], None]] = [
            self._pull, self._pull, self._pull_and_leave, self._pull_badly, self._remove, self._prune, self._use,
            self._look, self._commit, self._mount, self._build, self._build_and_leave,
        ]  # fmt: skip
        while not self.stop.is_set():
            draw.choice(ways)(draw)

    def _run(self, *arguments: str, corten: bool = False, timeout: float = 60) -> str:
        client = self.daemon.corten if corten else self.daemon.docker
        done = client(*arguments, check=False, timeout=timeout)
        self.done += 1
        if done.returncode and not any(words in done.stderr for words in _EXPECTED):
            self.unexpected.append(f"{' '.join(arguments)}: {done.stderr}")
        return done.stdout.strip()

    def _pull(self, draw: random.Random) -> None:
        self._run("pull", "-q", draw.choice(self.names))

    def _pull_and_leave(self, draw: random.Random) -> None:
        try:
            self._run("pull", draw.choice(self.names), timeout=draw.uniform(0.05, 0.5))
        except subprocess.TimeoutExpired:
            return

    def _pull_badly(self, draw: random.Random) -> None:
        fault = draw.choice(
            [{"cut_after": 1000}, {"status": 503}, {"corrupt": True}, {"drip": 20_000, "pause_s": 0.01}]
        )
        self.registry.faults.append(Fault(path="/blobs/", **fault))
        self._pull(draw)

    def _remove(self, draw: random.Random) -> None:
        self._run("rmi", "-f", draw.choice(self.names))

    def _prune(self, draw: random.Random) -> None:
        self._run("image", "prune", "-f", *(["-a"] if draw.random() < 0.5 else []))
        if draw.random() < 0.2:
            self._run("builder", "prune", "-f", *(["-a"] if draw.random() < 0.5 else []))

    def _use(self, draw: random.Random) -> None:
        container = self._run("create", "--pull", "never", draw.choice(self.names), "/bin/tool")
        if container:
            self._run("diff", container)
            self._run("rm", "-f", container)

    def _commit(self, draw: random.Random) -> None:
        container = self._run("create", "--pull", "never", draw.choice(self.names), "/bin/tool")
        if container:
            self._run("commit", container, f"made:{draw.randrange(3)}")
            self._run("rm", "-f", container)
            self._run("rmi", "-f", f"made:{draw.randrange(3)}")

    def _mount(self, draw: random.Random) -> None:
        target = self._run("image", "mount", draw.choice(self.names), corten=True)
        if target:
            self._run("image", "unmount", target, corten=True)

    def _build(self, draw: random.Random, *, timeout: float = 60) -> None:
        """Copies alone: the images have no command that a RUN could run."""
        base, other = draw.choice(self.names), draw.choice(self.names)
        text = f"FROM {other} AS stage\nCOPY <<one /one\n{draw.randrange(5)}\none\n"
        text += f"FROM {base}\nADD <<two /d/two\n{draw.randrange(5)}\ntwo\nCOPY --from=stage /one /bin/tool /d/\n"
        done = self.daemon.corten(
            "build", "-t", f"made:{draw.randrange(3)}", "-", input=text, check=False, timeout=timeout
        )
        self.done += 1
        if done.returncode and not any(words in done.stderr for words in _EXPECTED):
            self.unexpected.append(f"build: {done.stderr}")

    def _build_and_leave(self, draw: random.Random) -> None:
        try:
            self._build(draw, timeout=draw.uniform(0.1, 0.6))
        except subprocess.TimeoutExpired:
            return

    def _look(self, draw: random.Random) -> None:
        self._run("image", "inspect", draw.choice(self.names))
        self._run("system", "df", "-v")

    def clear(self) -> None:
        """Remove all there is."""
        self.registry.faults.clear()
        unmount_all(self.daemon)
        for container in self._run("ps", "-aq").split():
            self._run("rm", "-f", container)
        for image in self._run("images", "-aq", "--no-trunc").split():
            self._run("rmi", "-f", image)
        self._run("image", "prune", "-a", "-f")
        self._run("builder", "prune", "-a", "-f")


def files(daemon: Daemon) -> set[str]:
    """The files and directories that the daemon has open; connections come and go."""
    found = set()
    for fd in os.listdir(f"/proc/{daemon.pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            found.add(os.readlink(f"/proc/{daemon.pid}/fd/{fd}"))
    return {path for path in found if path.startswith("/")}


def settled(daemon: Daemon) -> list[str]:
    """What is wrong when the daemon has had time to delete what it gave up."""
    deadline = time.monotonic() + _WAIT_S
    while (found := problems(daemon)) and time.monotonic() < deadline:
        time.sleep(0.5)
    return found


def test_whatever_happens_at_once_nothing_is_torn_and_nothing_is_left(engine: Daemon) -> None:
    with FakeRegistry() as registry:
        stress = Stress(engine, registry)
        stress.run()
        assert engine.is_running()
        assert stress.unexpected == [], "\n".join(sorted(set(stress.unexpected)))
        assert settled(engine) == [], f"after {stress.done} commands"
        for name in stress.names:
            registry.faults.clear()
            engine.docker("pull", "-q", name)
        before = files(engine)
        stress.clear()
        assert settled(engine) == []
        assert files(engine) <= before
        assert {kind: count for kind, count in kept(engine).items() if kind != "Broken pulls"} == {}
