"""`python -m tests.again PYTEST ARGUMENT...`: run pytest, and what failed once more, alone; pytest's exit code.

The real tests race with a kernel, a daemon and its clients on machines of any speed. One that fails and then passes
alone does not stop the run, but its name is printed: it is a defect of the test or of Corten, to be found and
repaired. More than MOST failures are no coincidence and are not tried again.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

MOST = 3
_TESTS_FAILED = 1  # pytest.ExitCode


def run(arguments: list[str], cache: Path) -> int:
    """Run pytest with `arguments`, keeping the names of failed tests in `cache`; pytest's exit code."""
    pytest = [sys.executable, "-m", "pytest", "-o", f"cache_dir={cache}"]
    status = subprocess.run([*pytest, *arguments], check=False).returncode
    record = cache / "v/cache/lastfailed"
    failed = sorted(json.loads(record.read_text())) if record.exists() else []
    if status != _TESTS_FAILED or not 0 < len(failed) <= MOST:
        return status
    print("== once more, alone:", *failed, sep="\n   ", flush=True)
    status = subprocess.run([*pytest, "--last-failed", *arguments], check=False).returncode
    if not status:
        print("== UNSTEADY, failed once and then passed:", *failed, sep="\n   ", flush=True)
    return status


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="corten-tests-again-") as scratch:
        sys.exit(run(sys.argv[1:], Path(scratch)))
