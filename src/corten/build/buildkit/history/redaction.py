"""What of a request may be written down: no passwords of URLs, and no keys to stores of caches. Pure; daemon.

Build arguments are written down, as BuildKit does; secrets are never part of a request. Records are in memory, too: of
long texts only the beginning is written down, and of many only some.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from corten.build.location import redacted
from corten.errors import InvalidArgument
from corten.lib import codec

_IMPORTS = "cache-imports"
_LENGTH = 8 << 10  # characters
_ROOM = 64 << 10
_HARMLESS = ("ref", "scope", "src", "tag", "digest")


def written_down(attributes: Mapping[str, str]) -> dict[str, str]:
    """A frontend's attributes."""
    found: dict[str, str] = {}
    room = _ROOM
    for name, value in attributes.items():
        text = redacted(_imports(value) if name == _IMPORTS else value)[:_LENGTH]
        room -= len(name) + len(text)
        if room < 0:
            break
        found[name] = text
    return found


def _imports(text: str) -> str:
    """Where caches come from, without what opens them."""
    try:
        entries = codec.decode(list[dict[str, Any]], text.encode())
    except InvalidArgument:
        return ""
    kept = [
        {
            "Type": str(entry.get("Type", "")),
            "Attrs": {name: str(value) for name, value in dict(entry.get("Attrs") or {}).items() if name in _HARMLESS},
        }
        for entry in entries
        if isinstance(entry.get("Attrs") or {}, dict)
    ]
    return codec.encode(kept).decode()
