"""What `corten run` imports is paid for at each run: modules that cost milliseconds stay out."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.unit.cli.fake_engine import FakeEngine
from tests.unit.cli.recording import CORTEN

# Each cost 2 ms or more where it was measured; see the docstrings that avoid them.
HEAVY = {
    "argparse", "asyncio", "base64", "collections", "contextlib", "dataclasses", "datetime", "enum", "functools",
    "http.client", "inspect", "json", "pathlib", "re", "shutil", "signal", "socket", "subprocess", "tempfile",
    "threading", "typing", "urllib", "urllib.parse",
}  # fmt: skip


# What only some options need.
OPTIONS = ["-i", "-e", "A=b", "-p", "80:80", "-v", "/a:/b", "-m", "1g"]


def _imported(folder: Path, *options: str) -> set[str]:
    engine = FakeEngine(folder / "s")
    argv = [CORTEN[0], "-X", "importtime", *CORTEN[1:], "run", "--rm", *options, "busybox"]
    environment = {"HOME": str(folder), "CORTEN_HOST": engine.host}
    done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=environment, check=False)
    engine.close()
    assert done.returncode == 0
    found = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "corten.cli.attached" in found
    return found


def test_a_run_imports_nothing_heavy(tmp_path: Path) -> None:
    found = _imported(tmp_path, *OPTIONS)
    assert found & HEAVY == set()
    assert len([name for name in found if name.startswith("corten")]) <= 36


def test_a_plain_run_does_without_os(tmp_path: Path) -> None:
    found = _imported(tmp_path)
    assert found & {*HEAVY, "os", "posixpath", "_collections_abc"} == set()
    assert len([name for name in found if name.startswith("corten")]) <= 29
