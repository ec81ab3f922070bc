"""A full disk at every step: one clear error, nothing half-made, and an engine that goes on serving.

The data root is a small ext4 of its own. A daemon with the fault points of lib/faultpoint.py armed by SIGSTOP stops at each; the
disk is filled there, and the daemon goes on until what was asked for succeeds or fails. Then there is room again.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.faults.steps import Steps, kept
from tests.faults.test_every_step import settled
from tests.lab import images
from tests.lab.daemon import Daemon

from corten.lib.faultpoint import POINTS
from corten.linux.mount import umount2
from corten.testing.made_images import tar_of
from corten.testing.registry import FakeRegistry

_SIZE = 32 << 20
_PLACES = {point for point in POINTS if not point.startswith("network.")}  # those are met before the daemon answers
_WORDS = "no space left on device"


class SmallDisk:
    """The data root's file system."""

    def __init__(self, path: Path) -> None:
        path.mkdir()
        image = path.with_suffix(".ext4")
        with open(image, "xb") as file:
            file.truncate(_SIZE)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", image], check=True)
        subprocess.run(["mount", "-o", "loop", image, path], check=True)
        self.path = path
        self._ballast = path / "ballast"

    def fill(self) -> None:
        """Leave no byte free."""
        fd = os.open(self._ballast, os.O_WRONLY | os.O_CREAT)
        for size in (1 << 20, 1 << 16, 1 << 12):
            with contextlib.suppress(OSError):
                while os.write(fd, bytes(size)) == size:
                    os.lseek(fd, 0, os.SEEK_END)
        os.close(fd)

    def empty(self) -> None:
        """There is room again."""
        self._ballast.unlink(missing_ok=True)


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as fake:
        yield fake


@pytest.fixture
def engine() -> Iterator[Daemon]:
    one = Daemon()
    disk = SmallDisk(one.data_root)
    try:
        yield one
    finally:
        disk.empty()
        if one.environment.pop("CORTEN_FAULT", None) and one.is_running():
            os.kill(one.pid, signal.SIGCONT)
            one.kill()
        if not one.answers():
            one.start()
        names = one.out("ps", "-aq").split()
        if names:
            one.docker("rm", "-f", "-v", *names)
        one.stop()
        umount2(str(disk.path), 0)
        left = one.clean()
    assert left == []


def disk_of(daemon: Daemon) -> SmallDisk:
    disk = SmallDisk.__new__(SmallDisk)
    disk.path, disk._ballast = daemon.data_root, daemon.data_root / "ballast"
    return disk


class Filler(threading.Thread):
    """Lets the daemon go on at each stop, whenever that is; `armed` it fills the disk once, at a stop not in `done`."""

    def __init__(self, daemon: Daemon, disk: SmallDisk) -> None:
        super().__init__()
        self._engine = daemon
        self._disk = disk
        self._lock = threading.Lock()
        self._armed = False
        self._over = threading.Event()
        self.done = set[str]()
        self.filled_at = ""

    @contextlib.contextmanager
    def armed(self) -> Iterator[None]:
        self._armed, self.filled_at = True, ""
        try:
            yield
        finally:
            with self._lock:
                self._armed = False

    def run(self) -> None:
        while not self._over.wait(0.002):
            if self._waits():
                point = last_point(self._engine)
                with self._lock:
                    if self._armed and not self.filled_at and point not in self.done:
                        self.filled_at = point
                        self.done.add(point)
                        self._disk.fill()
                os.kill(self._engine.pid, signal.SIGCONT)

    def end(self) -> None:
        self._over.set()
        self.join()

    def _waits(self) -> bool:
        return Path(f"/proc/{self._engine.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T"


def last_point(daemon: Daemon) -> str:
    """Where the daemon has stopped last."""
    with open(daemon.log, "rb") as log:
        log.seek(max(os.fstat(log.fileno()).st_size - 8192, 0))
        lines = log.read().decode().splitlines()
    return [line.removeprefix("fault point ") for line in lines if line.startswith("fault point ")][-1]


def run_full(steps: Steps, filler: Filler) -> tuple[str, str]:
    """Do all steps until one fails, or has met the full disk; what it said, and where the disk was filled."""
    with filler.armed():
        for step in (*steps.pulling(), *steps.loading()):
            try:
                step()
            except AssertionError as error:
                return str(error), filler.filled_at
            if filler.filled_at:
                break
    return "", filler.filled_at


def test_full_at_every_step_nothing_is_torn(engine: Daemon, registry: FakeRegistry, tmp_path: Path) -> None:
    disk = disk_of(engine)
    engine.start()
    steps = Steps(engine, registry, tmp_path)
    steps.pull()
    steps.save()
    engine.stop()
    engine.environment["CORTEN_FAULT"] = ",".join(f"{point}=STOP" for point in _PLACES)
    engine.start()
    filler = Filler(engine, disk)  # to the end: what the daemon does on its own meets these places, too
    filler.start()
    try:
        failures = 0
        while (outcome := run_full(steps, filler))[1]:
            failure, point = outcome
            said = failure.partition("daemon log:")[0]
            assert not failure or _WORDS in said, f"{point}: {said}"
            assert engine.out("info", "--format", "{{.ServerVersion}}")
            engine.out("images")
            engine.out("ps", "-a")
            disk.empty()
            failures += bool(failure)
            assert settled(engine) == [], f"{point}\n{engine.log_text()}"
        assert outcome == ("", "")
        assert failures > 10
        assert filler.done == _PLACES
        steps.clear()
        assert settled(engine) == []
        assert kept(engine) == {}
    finally:
        filler.end()


def test_on_a_full_disk_all_can_be_seen_and_removed(engine: Daemon, registry: FakeRegistry, tmp_path: Path) -> None:
    disk = disk_of(engine)
    engine.start()
    steps = Steps(engine, registry, tmp_path)
    engine.docker("load", "-i", str(images.busybox()))
    steps.pull()
    steps.create()
    container = engine.out("run", "-d", "busybox", "sh", "-c", "while :; do sleep 1; done")
    disk.fill()
    for refused in (["pull", f"{registry.host}/lab/demo:2"], ["import", str(steps.tree)], ["commit", container]):
        registry.add_image("lab/demo", "2", files=[{"more": os.urandom(50_000)}])
        failed = engine.docker(*refused, check=False)
        assert failed.returncode != 0
        assert _WORDS in failed.stderr
    assert engine.inspect(container)["State"]["Running"]
    assert engine.out("exec", container, "echo", "alive") == "alive"
    assert "lab/demo" in engine.out("images")
    engine.docker("kill", container)
    engine.docker("rm", container, "one")
    engine.docker("rmi", steps.image)
    engine.docker("volume", "rm", "kept")
    disk.fill()
    engine.docker("image", "prune", "-a", "-f")
    assert engine.out("images", "-aq") == engine.out("ps", "-aq") == engine.out("volume", "ls", "-q") == ""
    disk.empty()
    assert settled(engine) == []
    steps.pull()
    steps.create()


def test_a_daemon_starts_on_a_full_disk(engine: Daemon, registry: FakeRegistry, tmp_path: Path) -> None:
    engine.start()
    steps = Steps(engine, registry, tmp_path)
    steps.pull()
    engine.kill()
    disk_of(engine).fill()
    engine.start()
    assert engine.out("rmi", steps.image)
    engine.stop()
    disk_of(engine).empty()
    engine.start()
    assert settled(engine) == []


def test_above_the_high_water_mark_what_nobody_uses_goes_the_oldest_first(engine: Daemon, tmp_path: Path) -> None:
    marks = {"high-water": "60%", "low-water": "50%", "images": "unused"}
    (engine.root / "daemon.json").write_text(json.dumps({"gc": marks}))
    engine.start()
    tree = tmp_path / "tree.tar"
    for number in range(6):
        tree.write_bytes(tar_of({"data": os.urandom(1 << 20)}))
        engine.docker("import", str(tree), f"made:{number}")
        if number == 0:
            engine.docker("create", "made:0", "x")
    deadline = time.monotonic() + 20
    while "made:1" in (left := engine.out("images", "--format", "{{.Repository}}:{{.Tag}}").split()):
        assert time.monotonic() < deadline, engine.log_text()
        time.sleep(0.05)
    assert "made:0" in left  # a container uses it
    assert "made:5" in left
    events = engine.out("events", "--since", "0", "--until", f"{time.time() + 0.1}", "--filter", "type=daemon")
    assert "daemon gc" in events
    assert "high-water mark" in events
    assert "deleted for want of space" in engine.log_text()
    assert settled(engine) == []
