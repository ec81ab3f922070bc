"""Detach keys as clients write them: checked here, matched by the shim. Pure."""

from __future__ import annotations

from corten.errors import InvalidArgument

_NAMED = frozenset({"ctrl-@", "ctrl-[", "ctrl-\\", "ctrl-]", "ctrl-^", "ctrl-_"})


def parse_detach_keys(text: str) -> list[str]:
    """`ctrl-p,ctrl-q` as its parts. Raises InvalidArgument with Docker's text."""
    if not text:
        return []
    keys = text.split(",")
    for key in keys:
        control = key.lower()
        if len(key) == 1 or control in _NAMED:
            continue
        if len(control) == 6 and control.startswith("ctrl-") and control[5].isascii() and control[5].isalpha():
            continue
        raise InvalidArgument(f"Invalid detach keys ({text[:64]}) provided")
    return keys
