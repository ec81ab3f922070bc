"""A pull whose daemon is killed, or stopped, goes on where it was: what is on the disk is not fetched again (counted)."""

import random
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.lab.daemon import Daemon, docker_cli, running_daemon

from corten.store.pieces import Pieces, pieces_path
from corten.testing.made_images import digest_of
from corten.testing.registry import FakeRegistry
from corten.testing.tcp_proxy import CountingProxy

# heads, documents and the other layer; much less than what one more beginning would cost
_BESIDES = 128 << 10


@pytest.fixture
def engine() -> Iterator[Daemon]:
    """A daemon of the test's own, killed at will."""
    with running_daemon() as one:
        yield one


def there(engine: Daemon) -> int:
    """How many bytes of blobs the ended daemon has left on the disk."""
    count = 0
    for path in (engine.data_root / "content" / "ingest").iterdir():
        if path.suffix == ".pieces":
            continue
        size = path.stat().st_size
        pieces = Pieces.load(pieces_path(path), size)
        count += pieces.arrived if pieces else size
    return count + sum(
        path.stat().st_size for path in (engine.data_root / "content" / "blobs").rglob("*") if path.is_file()
    )


def peak(engine: Daemon) -> int:
    """The most memory that the daemon has had, in bytes."""
    status = Path(f"/proc/{engine.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) << 10


def on_disk(path: Path) -> int:
    """How many bytes of a blob are there as the running daemon accounts for them, whose account is only read; none when
    it has just got another name. Its disk blocks would be more: each range ends within one."""
    try:
        if path.suffix == ".pieces" or not path.is_file():
            return 0
        account = pieces_path(path)
        if account.exists():
            return sum(done for (done,) in struct.iter_unpack("<Q", account.read_bytes()[24:]))
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def wait_for_disk(engine: Daemon, wanted: int) -> None:
    """Until the daemon has read what was sent to it, and has written and noted that."""
    deadline = time.monotonic() + 60
    while sum(on_disk(path) for path in (engine.data_root / "content").rglob("*")) < wanted:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("way", ["kill", "stop"])
@pytest.mark.parametrize("size", [6_000_000, 40_000_000], ids=["in order", "in ranges"])
def test_a_pull_goes_on_after_each_end_of_the_daemon(engine: Daemon, size: int, way: str) -> None:
    with FakeRegistry() as registry, CountingProxy(registry.host) as proxy:
        made = registry.add_image("demo", files=[{"noise": random.Random(size).randbytes(size)}, {"b": b"2"}])
        whole = sum(map(len, made.layers))
        name = f"{proxy.host}/demo"
        argv = [docker_cli(), "-H", engine.host, "pull", "-q", name]
        known = 0
        for part in (0.3, 0.6):
            proxy.hold_at = int(whole * part)
            client = subprocess.Popen(
                argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=engine.environment
            )
            assert proxy.held.wait(60)
            wait_for_disk(engine, known + proxy.down - _BESIDES)
            getattr(engine, way)()
            client.wait(60)
            left = there(engine)
            assert left > known
            assert proxy.down <= left - known + _BESIDES  # what has arrived is not forgotten
            known = left
            proxy.release()
            engine.start()
            assert engine.out("images", "-q") == ""
        engine.docker("pull", "-q", name)
        assert proxy.down <= whole - known + _BESIDES
        assert peak(engine) < 150 << 20
        assert engine.inspect(name)["Id"] == made.image_id
        assert [d.name for d in (engine.data_root / "content" / "ingest").iterdir()] == []
        blobs = engine.data_root / "content" / "blobs" / "sha256"
        assert all(digest_of(path.read_bytes()) == f"sha256:{path.name}" for path in blobs.iterdir())
