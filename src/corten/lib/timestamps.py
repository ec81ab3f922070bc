"""Times as Docker's API writes and reads them: RFC 3339 with nanoseconds out; seconds, durations or dates in. Pure."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime

from corten.errors import InvalidArgument

ZERO = "0001-01-01T00:00:00Z"  # Go's zero time

_SECONDS = re.compile(r"-?\d{1,12}(\.\d{1,18})?", re.ASCII)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)", re.ASCII)
_UNITS = {"ns": 1, "us": 1_000, "µs": 1_000, "ms": 1_000_000, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_DATE = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d)(?::(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?)?)?(Z|[+-]\d\d:?\d\d)?", re.ASCII
)


def rfc3339_nano(time_ns: int) -> str:
    """Unix nanoseconds as RFC 3339 in UTC, with as many of the nine digits as Go's RFC3339Nano keeps."""
    seconds, fraction = divmod(time_ns, 10**9)
    parts = time.gmtime(seconds)
    date = f"{parts.tm_year:04d}-{parts.tm_mon:02d}-{parts.tm_mday:02d}"
    clock = f"{parts.tm_hour:02d}:{parts.tm_min:02d}:{parts.tm_sec:02d}"
    digits = f".{fraction:09d}".rstrip("0") if fraction else ""
    return f"{date}T{clock}{digits}Z"


def parse_rfc3339(text: str) -> int:
    """Unix nanoseconds of a date; the parts after the day and the zone (then UTC) may be missing.

    Raises InvalidArgument.
    """
    match = _DATE.fullmatch(text)
    if match is None:
        raise InvalidArgument(f'invalid timestamp "{text[:64]}"')
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    try:
        moment = datetime(
            int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0), tzinfo=UTC
        )
    except ValueError as error:
        raise InvalidArgument(f'invalid timestamp "{text[:64]}": {error}') from error
    seconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // _ONE_SECOND
    if zone and zone != "Z":
        offset = int(zone[1:3]) * 3600 + int(zone[-2:]) * 60
        seconds -= offset if zone[0] == "+" else -offset
    return seconds * 10**9 + int((fraction or "0").ljust(9, "0"))


_ONE_SECOND = datetime(2000, 1, 1, 0, 0, 1, tzinfo=UTC) - datetime(2000, 1, 1, tzinfo=UTC)


def parse_duration(text: str) -> int:
    """Nanoseconds of a Go duration (`1h30m`, `90s`, `1.5h`). Raises InvalidArgument."""
    if text in {"0", "+0", "-0"}:
        return 0
    sign, body = (-1, text[1:]) if text.startswith("-") else (1, text.removeprefix("+"))
    if not body or len(body) > 64:
        raise InvalidArgument(f'time: invalid duration "{text[:64]}"')
    total = 0.0
    position = 0
    for match in _DURATION.finditer(body):
        if match.start() != position:
            break
        total += float(match[1]) * _UNITS[match[2]]
        position = match.end()
    if position != len(body) or total >= 2**63:
        raise InvalidArgument(f'time: invalid duration "{text[:64]}"')
    return sign * round(total)


def parse_timestamp(text: str, now_ns: int) -> int | None:
    """Unix nanoseconds of what Docker's `since` and `until` take; None for no text.

    Unix seconds with an optional fraction, a date in RFC 3339 (or a part of one), or a Go duration that lies back.
    Raises InvalidArgument.
    """
    if not text:
        return None
    if _SECONDS.fullmatch(text):
        seconds, _, fraction = text.partition(".")
        nanoseconds = int(fraction[:9].ljust(9, "0")) if fraction else 0
        return int(seconds) * 10**9 + (-nanoseconds if text.startswith("-") else nanoseconds)
    if _DATE.fullmatch(text):
        return parse_rfc3339(text)
    try:
        return now_ns - parse_duration(text)
    except InvalidArgument:
        raise InvalidArgument(f'failed to parse value as time or duration: "{text[:64]}"') from None
