"""A caller may close standard streams, stop reading, or fill the disk: one sentence, a status, and never a hang."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.cli.fake_engine import FakeEngine
from tests.unit.cli.recording import CORTEN


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[FakeEngine]:
    fake = FakeEngine(tmp_path / "s")
    fake.attach_output = b"\1\0\0\0\0\0\0\4out\n"
    yield fake
    fake.close()


def _shell(engine: FakeEngine, words: str, redirections: str) -> subprocess.CompletedProcess[str]:
    script = f"{shlex.join(CORTEN)} -H {engine.host} {words} {redirections}"
    environment = {"HOME": "/nonexistent", "PATH": "/usr/bin:/bin"}
    return subprocess.run(
        ["/bin/sh", "-c", script], capture_output=True, text=True, timeout=60, env=environment, check=False
    )


@pytest.mark.parametrize("redirections", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_not_taken_for_the_engines(engine: FakeEngine, redirections: str) -> None:
    done = _shell(engine, "run -i busybox cat", redirections)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == ("" if ">&-" in redirections.replace("2>&-", "") else "out\n")


def test_a_full_disk_is_told(engine: FakeEngine) -> None:
    done = _shell(engine, "run busybox x", ">/dev/full")
    assert (done.returncode, done.stderr) == (1, "write /dev/stdout: no space left on device\n")
    engine.answers["GET /containers/json"] = (200, [])
    done = _shell(engine, "ps", ">/dev/full")
    assert (done.returncode, done.stderr) == (1, "corten: no space left on device\n")


def test_a_reader_that_went_away_ends_it_quietly(engine: FakeEngine) -> None:
    engine.answers["GET /containers/json"] = (200, [])
    script = f"trap '' PIPE; {shlex.join(CORTEN)} -H {engine.host} ps; echo $? >&2"
    reader = subprocess.Popen(["/bin/true"], stdin=subprocess.PIPE)
    reader.wait()
    assert reader.stdin is not None
    done = subprocess.run(
        ["/bin/sh", "-c", script], stdout=reader.stdin, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
        env={"HOME": "/nonexistent", "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.stderr == "141\n"
