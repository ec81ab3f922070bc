"""Durations as Go writes and prints them: `1m30s`, `500ms`. Pure; daemon. Source: Go's time.ParseDuration."""

from __future__ import annotations

import json
import re

_PART = re.compile(r"(\d+\.?\d*|\.\d+)(h|ms|m|s|us|µs|μs|ns)")
_UNITS_NS = {"h": 3600 * 10**9, "m": 60 * 10**9, "s": 10**9, "ms": 10**6, "us": 1000, "µs": 1000, "μs": 1000, "ns": 1}
_LIMIT_NS = (1 << 63) - 1


def duration_ns(text: str) -> int:
    """Nanoseconds. Raises ValueError with Go's texts."""
    sign, rest = (-1, text[1:]) if text.startswith("-") else (1, text.removeprefix("+"))
    if rest == "0":
        return 0
    parts = _PART.findall(rest)
    if "".join(number + unit for number, unit in parts) != rest or not parts or len(text) > 64:
        problem = "missing unit in duration" if re.fullmatch(r"[\d.]*\d[\d.]*", rest) else "invalid duration"
        raise ValueError(f"time: {problem} {json.dumps(text[:64])}")
    total: int = sum(_nanoseconds(number, _UNITS_NS[unit]) for number, unit in parts)
    if total > _LIMIT_NS:
        raise ValueError(f"time: invalid duration {json.dumps(text)}")
    return sign * total


def _nanoseconds(number: str, unit: int) -> int:
    whole, _, fraction = number.partition(".")
    scale: int = 10 ** len(fraction)
    return int(whole or 0) * unit + int(fraction or 0) * unit // scale


def duration_text(nanoseconds: int) -> str:
    """As Go prints it: `0s`, `1.5ms`, `1m30s`."""
    if nanoseconds < 10**9:
        for name, unit in (("ms", 10**6), ("µs", 1000), ("ns", 1)):
            if nanoseconds >= unit:
                return f"{_decimal(nanoseconds, unit)}{name}"
        return "0s"
    minutes, rest = divmod(nanoseconds, 60 * 10**9)
    hours, minutes = divmod(minutes, 60)
    text = f"{_decimal(rest, 10**9)}s"
    return f"{hours}h{minutes}m{text}" if hours else f"{minutes}m{text}" if minutes else text


def _decimal(number: int, unit: int) -> str:
    whole, fraction = divmod(number, unit)
    digits = str(fraction).rjust(len(str(unit)) - 1, "0").rstrip("0") if fraction else ""
    return f"{whole}.{digits}" if digits else str(whole)
