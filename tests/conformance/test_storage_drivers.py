"""The same life of containers upon both storage drivers, across restarts and kill -9, and a data root that keeps its own."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.lab import images
from tests.lab.daemon import Daemon, running_daemon


@pytest.fixture(params=["erofs", "overlay2"])
def engine(request: pytest.FixtureRequest) -> Iterator[Daemon]:
    """A daemon of the test's own with this driver."""
    with running_daemon("--storage-driver", request.param) as one:
        one.docker("load", "-i", str(images.busybox()))
        yield one


def driver(engine: Daemon) -> str:
    return engine.flags[1]


def layer_mounts() -> list[str]:
    return [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if " - erofs " in line]


def test_a_container_changes_and_becomes_an_image(engine: Daemon, tmp_path: Path) -> None:
    assert engine.out("info", "-f", "{{.Driver}}") == driver(engine)
    cid = engine.out("create", "busybox", "sh", "-c", "echo new > /etc/made; rm /etc/passwd; cat /etc/copied")
    assert engine.inspect(cid)["GraphDriver"]["Name"] == driver(engine)
    (tmp_path / "copied").write_text("copied in")
    engine.docker("cp", str(tmp_path / "copied"), f"{cid}:/etc/copied")
    assert engine.out("start", "-a", cid) == "copied in"
    changes = set(engine.out("diff", cid).splitlines())
    assert changes == {"C /etc", "A /etc/made", "A /etc/copied", "D /etc/passwd"}
    engine.docker("commit", cid, "made")
    command = "cat /etc/made /etc/copied; test -e /etc/passwd || echo gone"
    assert engine.out("run", "--rm", "made", "sh", "-c", command).split("\n") == ["new", "copied ingone"]
    engine.docker("export", "-o", str(tmp_path / "root.tar"), cid)
    with tarfile.open(tmp_path / "root.tar") as archive:
        assert "etc/made" in archive.getnames()
        assert "etc/passwd" not in archive.getnames()


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_containers_go_on_without_the_daemon_and_start_again_with_the_next(engine: Daemon, end: str) -> None:
    before = layer_mounts()
    running = engine.out("run", "-d", "--init", "busybox", "sleep", "1000")
    stopped = engine.out("create", "busybox", "cat", "/etc/passwd")
    getattr(engine, end)()
    pid = [name for name in os.listdir("/proc") if name.isdigit() and in_container(name, running)]
    assert pid
    assert layer_mounts() == before
    engine.start()
    assert "root" in engine.out("exec", running, "cat", "/etc/passwd")
    assert "root" in engine.out("start", "-a", stopped)
    engine.docker("restart", "-t", "1", running)
    assert "root" in engine.out("exec", running, "cat", "/etc/passwd")
    assert layer_mounts() == before


def in_container(pid: str, cid: str) -> bool:
    try:
        return cid in Path(f"/proc/{pid}/cgroup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_the_other_driver_is_refused_while_there_are_layers(engine: Daemon) -> None:
    other = {"erofs": "overlay2", "overlay2": "erofs"}[driver(engine)]
    engine.stop()
    own, engine.flags = engine.flags, ("--storage-driver", other)
    with pytest.raises(RuntimeError, match=f"holds layers of the storage driver {own[1]}, which {other} cannot use"):
        engine.start()
    engine.flags = ()  # what is there decides
    engine.start()
    assert engine.out("info", "-f", "{{.Driver}}") == own[1]
    assert engine.out("run", "--rm", "busybox", "echo", "still there") == "still there"
