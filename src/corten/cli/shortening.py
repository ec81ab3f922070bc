"""Long IDs and texts cut for tables."""

from __future__ import annotations

_SHORT_ID = 12


def short_id(text: str) -> str:
    """The first twelve digits, without `sha256:`."""
    return text.rpartition(":")[2][:_SHORT_ID] if ":" in text else text[:_SHORT_ID]


def ellipsis(text: str, length: int) -> str:
    """At most `length` characters, the last one `…` when something was cut."""
    if len(text) <= length:
        return text
    return text[: length - 1] + "…" if length > 1 else text[:length]
