"""What a build has said, whatever the form of its progress: the words of its steps, one line each."""

from __future__ import annotations

import re
import subprocess

_PREFIX = re.compile(r"^#\d+ (?:\d+\.\d+ )?", re.MULTILINE)  # of plain progress


def said(done: subprocess.CompletedProcess[str]) -> str:
    """Standard output and error of a build's client, without the numbers before each line."""
    return _PREFIX.sub("", f"{done.stdout}\n{done.stderr}")
