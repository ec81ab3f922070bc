"""Environment variables, for what every `run` reads. From `posix`: to import `os` for its `environ` costs 1.5 ms."""

from __future__ import annotations

import posix
import sys


def variable(name: str) -> str:
    """Its value, "" when it is not set. Where `os` is loaded its copy counts, since that is the one that changes."""
    loaded = sys.modules.get("os")
    if loaded is not None:
        return str(loaded.environ.get(name, ""))
    return posix.environ.get(name.encode(), b"").decode("utf-8", "surrogateescape")
