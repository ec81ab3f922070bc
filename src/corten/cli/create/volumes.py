"""-v: what is a bind or a named volume, and what is an anonymous volume."""

from __future__ import annotations

import os

from corten.cli.errors import CliError


def split_volumes(texts: list[str]) -> tuple[list[str], list[str]]:
    """(Binds, anonymous volumes); relative host paths become absolute. Raises CliError."""
    binds: list[str] = []
    anonymous: list[str] = []
    for text in texts:
        source = _source(text)
        if not source:
            anonymous.append(text)
        elif source.startswith("."):
            path, _, rest = text.partition(":")
            binds.append(f"{os.path.abspath(path)}:{rest}")
        else:
            binds.append(text)
    return binds, anonymous


def _source(text: str) -> str:
    """The part before the container's path, "" for an anonymous volume."""
    if not text:
        raise CliError("invalid empty volume spec", status=125, prefixed=True)
    parts = _split(text)
    if len(parts) > 1 and "" in (part.strip() for part in parts[:3]):
        raise CliError(f"invalid spec: {text}: empty section between colons", status=125, prefixed=True)
    if len(parts) > 3:
        raise CliError(f"invalid spec: {text}: too many colons", status=125, prefixed=True)
    return parts[0] if len(parts) > 1 else ""


def _split(text: str) -> list[str]:
    """At colons, but not after a single letter: Docker's client takes `c:\\x` for a path with a drive."""
    parts: list[str] = []
    for piece in text.split(":"):
        if parts and len(parts) < 3 and len(parts[-1]) == 1 and parts[-1].isalpha():
            parts[-1] += f":{piece}"
        else:
            parts.append(piece)
    return parts
