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


def test_a_run_imports_nothing_heavy(tmp_path: Path) -> None:
    engine = FakeEngine(tmp_path / "s")
    arguments = [
        "-H",
        engine.host,
        "run",
        "--rm",
        "-i",
        "-e",
        "A=b",
        "-p",
        "80:80",
        "-v",
        "/a:/b",
        "-m",
        "1g",
        "busybox",
    ]
    argv = [CORTEN[0], "-X", "importtime", *CORTEN[1:], *arguments]
    done = subprocess.run(
        argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, env={"HOME": str(tmp_path)}, check=False
    )
    engine.close()
    assert done.returncode == 0
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "corten.cli.attached" in imported
    assert imported & HEAVY == set()
    assert len([name for name in imported if name.startswith("corten")]) <= 36
