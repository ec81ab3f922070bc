"""Times and sizes of status messages, as BuildKit's clients write them. Pure."""

from __future__ import annotations

import datetime as dt

NANO = 1_000_000_000
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def nanoseconds(text: str | None) -> int | None:
    """A time as RFC 3339 has it, in nanoseconds since 1970; None for none. Raises ValueError for other text."""
    if not text:
        return None
    head, dot, rest = text.partition(".")
    if not dot:
        return _seconds(text) * NANO
    digits = len(rest) - len(rest.lstrip("0123456789"))
    return _seconds(head + rest[digits:]) * NANO + int(rest[:digits][:9].ljust(9, "0") or 0)


def _seconds(text: str) -> int:
    moment = dt.datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    difference = moment - _EPOCH
    return difference.days * 86400 + difference.seconds


def since_start(nanos: int) -> str:
    """How long after its step's beginning a line was written, in seconds: three decimals below 10 s, then fewer."""
    seconds = nanos / NANO
    decimals = 3 if seconds < 10 else 2 if seconds < 100 else 1
    return f"{seconds:.{decimals}f}"


def size(count: int) -> str:
    """Bytes in powers of 1000: `26B`, `1.98MB`."""
    number = float(count)
    for unit in _UNITS[:-1]:
        if abs(number) < 1000:
            return f"{count}B" if unit == "B" else f"{number:.2f}{unit}"
        number /= 1000
    return f"{number:.2f}{_UNITS[-1]}"


def amount(current: int, total: int) -> str:
    """How far something is; empty when nobody knows."""
    if total:
        return f"{size(current)} / {size(total)}"
    return size(current) if current else ""
