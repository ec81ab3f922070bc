"""Times and sizes of status messages, as BuildKit's clients write them. Pure."""

from __future__ import annotations

NANO = 1_000_000_000
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def nanoseconds(text: str | None) -> int | None:
    """A time as RFC 3339 has it, in nanoseconds since 1970; None for none. Raises ValueError for other text."""
    if not text:
        return None
    if text[19:20] in (".", "Z") and text.endswith("Z"):  # as the engine has it, without `datetime`: a millisecond
        fraction = text[20:-1]
        return _utc_seconds(text[:19]) * NANO + int(fraction[:9].ljust(9, "0") or 0)
    return _other_time(text)


def _utc_seconds(text: str) -> int:
    """`2024-05-06T07:08:09` as seconds since 1970. (The days are counted in years that begin with March.)"""
    year, month, day = int(text[:4]), int(text[5:7]), int(text[8:10])
    year -= month < 3
    days = 365 * year + year // 4 - year // 100 + year // 400 + (153 * ((month + 9) % 12) + 2) // 5 + day - 719469
    return days * 86400 + int(text[11:13]) * 3600 + int(text[14:16]) * 60 + int(text[17:19])


def _other_time(text: str) -> int:
    import datetime as dt

    head, _, rest = text.partition(".")
    digits = len(rest) - len(rest.lstrip("0123456789"))
    moment = dt.datetime.fromisoformat(head + rest[digits:])
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    difference = moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    return (difference.days * 86400 + difference.seconds) * NANO + int(rest[:digits][:9].ljust(9, "0") or 0)


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
