"""The interpreter behind an init cannot be written through /proc/<pid>/exe (CVE-2019-5736)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = str(Path(__file__).resolve().parents[3] / "src")
PROGRAM = f"""
import os, sys
sys.path.insert(0, {SOURCE!r})
from corten.runtime.sealed import is_sealed, run_sealed
run_sealed()
print(is_sealed(), sys.argv[1:], sys.flags.isolated, "CORTEN_SEALED" in os.environ, flush=True)
sys.stdin.read()
"""


def test_a_sealed_process_keeps_its_arguments_and_its_file_cannot_be_opened_for_writing(tmp_path: Path) -> None:
    # A copy, so that the file is not busy as another process's executable once this one has ended.
    python = tmp_path / "python"
    shutil.copy(os.path.realpath(sys.executable), python)
    process = subprocess.Popen(
        [str(python), "-I", "-S", "-c", PROGRAM, "one", "two"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"PYTHONHOME": sys.base_prefix},
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "True ['one', 'two'] 1 False\n"
    fd = os.open(f"/proc/{process.pid}/exe", os.O_PATH)
    try:
        process.stdin.close()
        process.wait()
        process.stdout.close()
        with pytest.raises(OSError, match="Read-only file system"):
            os.open(f"/proc/self/fd/{fd}", os.O_WRONLY)
    finally:
        os.close(fd)
    os.close(os.open(python, os.O_WRONLY))  # the file itself was not read-only
