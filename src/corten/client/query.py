"""Percent-encoding of paths and queries (RFC 3986), without urllib, which costs 6 ms to import."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def quote(text: str, safe: str = "") -> str:
    """Percent-encode all but unreserved characters and `safe`."""
    if _PLAIN.issuperset(text):
        return text
    return "".join(
        char if char in _PLAIN or char in safe else "".join(f"%{byte:02X}" for byte in _utf8(char)) for char in text
    )


def _utf8(char: str) -> bytes:
    return char.encode("utf-8", "surrogateescape")


def encode_query(values: Mapping[str, object]) -> str:
    """`a=1&b=2`; lists repeat their key, booleans are 1, and None, False and "" are left out."""
    parts: list[str] = []
    for key, value in values.items():
        if value is None or value is False or value == "":
            continue
        items = value if isinstance(value, (list, tuple)) else (value,)
        parts.extend(f"{key}={quote('1' if item is True else str(item))}" for item in items)
    return "&".join(parts)
