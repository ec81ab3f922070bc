"""--filter values as the API takes them."""

from __future__ import annotations

from corten.client import json_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def encode_filters(pairs: Iterable[tuple[str, str]]) -> str:
    """`{"label":{"a=b":true}}`, "" for no filter."""
    found: dict[str, dict[str, bool]] = {}
    for name, value in pairs:
        found.setdefault(name, {})[value] = True
    return json_text.dumps(found).decode() if found else ""
