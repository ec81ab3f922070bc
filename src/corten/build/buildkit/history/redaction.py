"""What of a request may be written down: no passwords of URLs, and no keys to stores of caches. Pure; daemon.

Build arguments are written down, as BuildKit does; secrets are never part of a request.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from corten.build.location import redacted
from corten.errors import InvalidArgument
from corten.lib import codec

_IMPORTS = "cache-imports"
_HARMLESS = ("ref", "scope", "src", "tag", "digest")


def written_down(attributes: Mapping[str, str]) -> dict[str, str]:
    """A frontend's attributes."""
    found = {name: redacted(value) for name, value in attributes.items()}
    if _IMPORTS in found:
        found[_IMPORTS] = redacted(_imports(attributes[_IMPORTS]))
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
