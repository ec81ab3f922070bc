"""Compiled seccomp filters, as the daemon leaves them in the exec root. Runs in the shim."""

from __future__ import annotations


def read_filter(path: str) -> bytes | None:
    """The program in `path`; None without one. Raises OSError."""
    if not path:
        return None
    with open(path, "rb") as file:
        return file.read()
