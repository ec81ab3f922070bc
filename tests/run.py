"""Runs the whole test suite in stages, cheapest first; `bin/test` calls it. Stops at the first stage that fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = ROOT / ".venv/bin"
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{ROOT}/src:{ROOT}", "PATH": f"{BIN}:{os.environ['PATH']}"}

PYTEST = [str(BIN / "python"), "-m", "pytest", "--durations=5"]
TWICE = [str(BIN / "python"), "-m", "tests.again", "--durations=5"]  # what fails is tried once more, and named
QUICK = [
    ("format", [str(BIN / "ruff"), "format", "--check", "src", "tests", "bench", "bin"]),
    ("lint", [str(BIN / "ruff"), "check", "src", "tests", "bench", "bin"]),
    ("types", [str(BIN / "mypy")]),
    ("architecture and units", [*TWICE, "-n", "2", "tests/arch", "tests/unit"]),
]
REAL = [
    ("kernel", [*TWICE, "tests/contract", "tests/kernel"]),
    ("engine", [*TWICE, "tests/engine"]),
    ("conformance", [*TWICE, "tests/conformance"]),
    ("faults", [*TWICE, "tests/faults"]),
]
GUEST = [("cgroup v2 guest", [str(BIN / "python"), "-m", "tests.qemu.run"])]


def main() -> int:
    """Run the stages, or pytest on given paths."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:  # as in the background; tests send them
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    arguments = sys.argv[1:]
    if arguments == ["v2"]:
        stages = GUEST
    elif arguments and arguments != ["quick"]:
        stages = [("selected", [*PYTEST, *arguments])]
    else:
        stages = QUICK if arguments else QUICK + REAL + GUEST
    with tempfile.TemporaryDirectory(prefix="corten-tests-") as scratch:
        try:
            return run(stages, {**ENVIRONMENT, "PYTEST_DEBUG_TEMPROOT": scratch})
        finally:  # trees deeper than Python's recursion, which a failed test may have left
            subprocess.run(["rm", "-rf", "--one-file-system", f"{scratch}/pytest-of-root"], check=False)


def run(stages: list[tuple[str, list[str]]], environment: dict[str, str]) -> int:
    """Run each stage up to the first that fails; its exit status."""
    for name, argv in stages:
        print(f"== {name}", flush=True)
        start = time.monotonic()
        status = subprocess.run(argv, cwd=ROOT, env=environment, check=False).returncode
        print(f"== {name}: {'FAILED' if status else 'passed'} in {time.monotonic() - start:.0f} s", flush=True)
        if status:
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
