"""Runs the whole test suite in stages, cheapest first; `bin/test` calls it. Stops at the first stage that fails."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = ROOT / ".venv/bin"
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{ROOT}/src:{ROOT}", "PATH": f"{BIN}:{os.environ['PATH']}"}

PYTEST = [str(BIN / "python"), "-m", "pytest", "--durations=5"]
QUICK = [
    ("format", [str(BIN / "ruff"), "format", "--check", "src", "tests", "bench", "bin"]),
    ("lint", [str(BIN / "ruff"), "check", "src", "tests", "bench", "bin"]),
    ("types", [str(BIN / "mypy")]),
    ("architecture and units", [*PYTEST, "-n", "2", "tests/arch", "tests/unit"]),
]
REAL = [
    ("kernel", [*PYTEST, "tests/contract", "tests/kernel"]),
    ("engine", [*PYTEST, "tests/engine"]),
    ("conformance", [*PYTEST, "tests/conformance"]),
    ("faults", [*PYTEST, "tests/faults"]),
]
GUEST = [("cgroup v2 guest", [str(BIN / "python"), "-m", "tests.qemu.run"])]


def main() -> int:
    """Run the stages, or pytest on given paths."""
    arguments = sys.argv[1:]
    if arguments == ["v2"]:
        stages = GUEST
    elif arguments and arguments != ["quick"]:
        stages = [("selected", [*PYTEST, *arguments])]
    else:
        stages = QUICK if arguments else QUICK + REAL
    for name, argv in stages:
        print(f"== {name}", flush=True)
        start = time.monotonic()
        result = subprocess.run(argv, cwd=ROOT, env=ENVIRONMENT, check=False)
        print(
            f"== {name}: {'passed' if result.returncode == 0 else 'FAILED'} in {time.monotonic() - start:.0f} s",
            flush=True,
        )
        if result.returncode != 0:
            return result.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
