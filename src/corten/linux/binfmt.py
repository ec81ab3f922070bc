"""What the kernel runs through interpreters, as /proc/sys/fs/binfmt_misc tells. Blocking.

Source: the kernel's Documentation/admin-guide/binfmt-misc.rst.
"""

from __future__ import annotations

import os

_ROOT = "/proc/sys/fs/binfmt_misc"
_CONTROLS = ("register", "status")


class Handler:
    """One that is enabled: its name, its interpreter, and its flags (F: the interpreter is open since the
    registration, so that containers without it use it, too)."""

    __slots__ = ("flags", "interpreter", "name")

    def __init__(self, name: str, interpreter: str, flags: str) -> None:
        self.name = name
        self.interpreter = interpreter
        self.flags = flags


def handlers(root: str = _ROOT) -> list[Handler]:
    """All; none where the file system is not mounted. Blocking."""
    try:
        names = sorted(os.listdir(root))
    except OSError:
        return []
    found = []
    for name in names:
        if name in _CONTROLS:
            continue
        try:
            with open(os.path.join(root, name), encoding="utf-8", errors="replace") as file:
                handler = parse_handler(name, file.read(64 << 10))
        except OSError:
            continue
        if handler is not None:
            found.append(handler)
    return found


def parse_handler(name: str, text: str) -> Handler | None:
    """What an entry says; None for one that is disabled. Pure."""
    lines = text.splitlines()
    if "enabled" not in lines[:1]:
        return None
    said = dict(line.partition(" ")[::2] for line in lines)
    return Handler(name, said.get("interpreter", ""), said.get("flags:", ""))
