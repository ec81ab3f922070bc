"""`corten fsck` finds every kind of damage, repairs what can be, drops what nobody has any more, and says which."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.faults.steps import Steps
from tests.lab import images
from tests.lab.daemon import Daemon, docker_cli, running_daemon

from corten.testing.registry import FakeRegistry, Fault

SOUND, REPAIRED, REMAIN = 0, 1, 4


@pytest.fixture(params=["overlay2", ""], ids=["overlay2", "probed"])
def engine(request: pytest.FixtureRequest) -> Iterator[Daemon]:
    """A daemon with each storage driver: unpacked directories, and what this kernel does best."""
    flags = ["--storage-driver", request.param] if request.param else []
    with running_daemon(*flags) as one:
        yield one


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as fake:
        yield fake


@pytest.fixture
def image(engine: Daemon, registry: FakeRegistry) -> str:
    """An image of two layers, pulled."""
    registry.add_image("lab/demo", "1", files=[{"a": b"1" * 100_000}, {"b": b"2"}])
    name = f"{registry.host}/lab/demo:1"
    engine.docker("pull", "-q", name)
    assert fsck(engine) == (SOUND, [])
    return name


def fsck(daemon: Daemon, *options: str) -> tuple[int, list[str]]:
    """The exit status, and the lines about problems."""
    done = daemon.corten("fsck", *options, check=False)
    assert done.stderr == ""
    lines, table = done.stdout.split("AREA ", 1)
    assert [line.split()[0] for line in table.splitlines()[1:]] == [
        "database", "blobs", "images", "layers", "containers", "volumes", "leftovers",
    ]  # fmt: skip
    return done.returncode, lines.splitlines()


def blobs(daemon: Daemon) -> list[Path]:
    return sorted((daemon.data_root / "content/blobs/sha256").iterdir())


def layers(daemon: Daemon) -> list[Path]:
    """The directories of all layers; 0 has what belongs to none."""
    return list((daemon.data_root / "snapshots").glob("*/[1-9]*"))


def lose_layers(daemon: Daemon) -> None:
    for path in layers(daemon):
        if (path / "layer.erofs").exists():
            (path / "layer.erofs").unlink()
        else:
            shutil.rmtree(path)


def flip(path: Path) -> None:
    """One bit, as a disk does it."""
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(bytes(raw))


def test_damaged_blobs_are_found_and_fetched_again(engine: Daemon, image: str, registry: FakeRegistry) -> None:
    for path in blobs(engine):
        flip(path)
    status, lines = fsck(engine)
    assert (status, len(lines)) == (REMAIN, 4)
    assert all("is damaged" in line and line.endswith(": remains") for line in lines)
    registry.faults.append(Fault(path="/manifests/", status=503, times=50))
    assert fsck(engine, "--repair")[0] == REMAIN  # a registry that is down drops nothing
    assert image.rpartition(":")[0] in engine.out("images")
    registry.faults.clear()
    status, lines = fsck(engine, "--repair")
    assert (status, len(lines)) == (REPAIRED, 4)
    assert all(f"repaired (fetched again from {registry.host})" in line for line in lines)
    assert fsck(engine) == (SOUND, [])


def test_lost_documents_come_back_with_their_image(engine: Daemon, image: str) -> None:
    for path in blobs(engine):
        path.unlink()
    engine.kill()
    engine.start()
    assert engine.out("images", "-q") == ""
    assert fsck(engine)[0] == REMAIN
    assert fsck(engine, "--repair")[0] == REPAIRED
    assert engine.out("images", "-q", image) != ""
    assert fsck(engine) == (SOUND, [])
    engine.docker("create", image)


def test_lost_layers_are_unpacked_again(engine: Daemon, image: str) -> None:
    container = engine.out("create", image)
    lose_layers(engine)
    status, lines = fsck(engine, "--repair")
    assert (status, [line.rpartition(": ")[2] for line in lines]) == (REPAIRED, ["repaired (unpacked again)"] * 2)
    assert fsck(engine) == (SOUND, [])
    exported = subprocess.run(
        [docker_cli(), "-H", engine.host, "export", container], capture_output=True, check=True, env=engine.environment
    )
    listed = subprocess.run(["tar", "t"], input=exported.stdout, capture_output=True, check=True)
    assert {b"a", b"b"} <= set(listed.stdout.split())


def test_what_nobody_has_any_more_is_dropped(engine: Daemon, image: str, registry: FakeRegistry) -> None:
    registry.blobs.clear()
    registry.manifests.clear()
    layer = max(blobs(engine), key=lambda path: path.stat().st_size)
    flip(layer)
    status, lines = fsck(engine, "--repair")
    assert status == REMAIN  # it can still be run
    assert "does not have it any more" in lines[0]
    assert engine.out("images", "-q", image) != ""
    for path in blobs(engine):
        path.unlink()
    lose_layers(engine)
    status, lines = fsck(engine, "--repair")
    assert status == REPAIRED
    assert all(": dropped (" in line for line in lines)
    assert engine.out("images", "-q") == ""
    assert fsck(engine) == (SOUND, [])


def test_an_image_that_a_container_needs_is_never_dropped(engine: Daemon, image: str, registry: FakeRegistry) -> None:
    engine.docker("create", "--name", "needs", image)
    registry.blobs.clear()
    registry.manifests.clear()
    for path in blobs(engine):
        path.unlink()
    lose_layers(engine)
    assert fsck(engine, "--repair")[0] == REMAIN
    assert engine.out("images", "-q", image) != ""
    engine.docker("rm", "needs")
    assert fsck(engine, "--repair")[0] == REPAIRED
    assert engine.out("images", "-q") == ""


def test_layers_of_running_containers_are_left_alone(engine: Daemon) -> None:
    engine.docker("load", "-i", str(images.busybox()))
    running = engine.out("run", "-d", "busybox", "sleep", "1000")
    (layer,) = layers(engine)
    if (layer / "layer.erofs").exists():
        with open(layer / "layer.erofs", "ab") as file:
            file.write(bytes(4096))
    else:
        (layer / "fs/etc/passwd").write_text("shorter\n")
    status, lines = fsck(engine, "--repair")
    assert status == REMAIN
    assert "a running container stands on it: stop it" in lines[0]
    assert engine.out("exec", running, "echo", "alive") == "alive"
    engine.docker("kill", running)
    assert fsck(engine, "--repair")[0] == REPAIRED
    engine.docker("start", running)
    assert engine.out("exec", running, "head", "-c4", "/etc/passwd") == "root"
    assert fsck(engine) == (SOUND, [])


def test_files_that_nothing_names_and_things_without_files(engine: Daemon, image: str) -> None:
    container = engine.out("create", "-v", "kept:/kept", image)
    (engine.data_root / "content/blobs/sha256/stray").mkdir()
    (engine.data_root / "content/ingest/1234.pieces").write_bytes(b"x")
    (snapshots,) = (engine.data_root / "snapshots").glob("*/c")
    (snapshots / ("f" * 64)).mkdir()
    shutil.rmtree(engine.data_root / "containers" / container)
    shutil.rmtree(engine.data_root / "volumes/kept/_data")
    status, lines = fsck(engine, "--repair")
    assert status == REMAIN
    assert {line.split(":")[0] for line in lines} == {"leftovers", "containers", "volumes"}
    assert sum(line.endswith("repaired (deleted)") for line in lines) == 2
    (engine.data_root / "volumes/kept/_data").mkdir()
    engine.docker("rm", container)
    engine.kill()
    engine.start()
    assert fsck(engine) == (SOUND, [])


def test_work_under_way_is_no_problem(engine: Daemon, image: str, registry: FakeRegistry, tmp_path: Path) -> None:
    steps = Steps(engine, registry, tmp_path)
    over, done = threading.Event(), []

    def work() -> None:
        while not over.is_set():
            for step in steps.pulling():
                step()
            done.append(True)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        looks = [fsck(engine) for _ in range(15)]
    finally:
        over.set()
        worker.join()
    assert looks == [(SOUND, [])] * 15
    assert done
    engine.docker("pull", "-q", image)


def test_a_record_that_cannot_be_read_is_dropped(engine: Daemon, image: str) -> None:
    engine.stop()
    with sqlite3.connect(engine.data_root / "meta.db") as connection:
        connection.execute("UPDATE records SET value = ? WHERE kind = 'images'", (b"{",))
    connection.close()
    engine.start()
    status, lines = fsck(engine)
    assert (status, len(lines)) == (REMAIN, 1)
    assert "its record cannot be read" in lines[0]
    assert fsck(engine, "--repair")[0] == REPAIRED
    engine.docker("pull", "-q", image)
    assert fsck(engine) == (SOUND, [])


def test_a_damaged_database_is_said_at_the_start(engine: Daemon, image: str) -> None:
    engine.docker("volume", "create", "kept")
    engine.stop()
    database = engine.data_root / "meta.db"
    database.write_bytes(b"no database at all" * 1000)
    with pytest.raises(RuntimeError) as caught:
        engine.start()
    assert "the database" in str(caught.value)
    assert "move it" in str(caught.value)
    database.rename(engine.data_root / "meta.db.damaged")
    (engine.data_root / "meta.db-wal").unlink(missing_ok=True)
    engine.start()
    assert engine.out("images", "-q") == ""
    assert engine.out("volume", "ls", "-q") == "kept"
    engine.docker("pull", "-q", image)  # its blobs are still here
    assert fsck(engine) == (SOUND, [])
