"""Times as people read them: `3 minutes ago`, and the forms in which Go prints instants. No `datetime` (5 ms)."""

from __future__ import annotations

import time

_UNITS = (
    (48, 1, "hours"),
    (24 * 7 * 2, 24, "days"),
    (24 * 30 * 2, 24 * 7, "weeks"),
    (24 * 365 * 2, 24 * 30, "months"),
)


def human_duration(seconds: float) -> str:
    """`About a minute`, `5 days`: the steps of Docker's client."""
    whole = int(seconds)
    if whole < 1:
        return "Less than a second"
    if whole == 1:
        return "1 second"
    if whole < 60:
        return f"{whole} seconds"
    minutes = whole // 60
    if minutes == 1:
        return "About a minute"
    if minutes < 60:
        return f"{minutes} minutes"
    hours = int(seconds / 3600 + 0.5)
    if hours == 1:
        return "About an hour"
    for limit, size, name in _UNITS:
        if hours < limit:
            return f"{hours // size} {name}"
    return f"{int(seconds / 3600) // 24 // 365} years"


def ago(seconds: float) -> str:
    """How long the instant (Unix time) is past: `2 hours ago`."""
    return f"{human_duration(time.time() - seconds)} ago"


def go_time(seconds: float) -> str:
    """An instant in local time as Go prints it: `2026-11-23 22:07:19 +0000 UTC`."""
    local = time.localtime(seconds)
    offset = local.tm_gmtoff // 60
    sign = "-" if offset < 0 else "+"
    hours, minutes = divmod(abs(offset), 60)
    zone = local.tm_zone if local.tm_zone[:1] not in "+-" else f"{sign}{hours:02d}{minutes:02d}".removesuffix("00")
    return f"{time.strftime('%Y-%m-%d %H:%M:%S', local)} {sign}{hours:02d}{minutes:02d} {zone}"


def parse_rfc3339(text: str) -> tuple[int, int]:
    """(seconds, nanoseconds) of `2026-11-23T22:07:19.277Z` and the like; raises ValueError."""
    date, separator, clock = text.replace(" ", "T", 1).partition("T")
    if not separator:
        raise ValueError(f"not a time: {text}")
    offset = 0
    if clock.endswith(("Z", "z")):
        clock = clock[:-1]
    else:
        for sign in "+-":
            head, found, zone = clock.rpartition(sign)
            if found:
                hours, _, minutes = zone.partition(":")
                offset = (int(hours) * 3600 + int(minutes or 0) * 60) * (1 if sign == "+" else -1)
                clock = head
                break
    clock, _, fraction = clock.partition(".")
    year, month, day = (int(part) for part in date.split("-"))
    parts = [int(part) for part in clock.split(":")]
    hour, minute, second = (*parts, 0, 0)[:3]
    return utc_seconds(year, month, day, hour, minute, second) - offset, int(f"{fraction[:9]:0<9}" or 0)


def utc_seconds(year: int, month: int, day: int, hour: int, minute: int, second: int) -> int:
    """Unix time of a date in UTC: days since 1970 by the civil calendar, as calendar.timegm counts."""
    shifted = year - (month <= 2)
    era_day = shifted * 365 + shifted // 4 - shifted // 100 + shifted // 400
    days = era_day + (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 719469
    return ((days * 24 + hour) * 60 + minute) * 60 + second


def rfc3339_local(seconds: int, nanoseconds: int | None = None) -> str:
    """`2026-11-23T22:07:19Z` in local time; with nanoseconds always nine digits of them."""
    local = time.localtime(seconds)
    offset = local.tm_gmtoff // 60
    hours, minutes = divmod(abs(offset), 60)
    zone = f"{'-' if offset < 0 else '+'}{hours:02d}:{minutes:02d}" if offset else "Z"
    fraction = "" if nanoseconds is None else f".{nanoseconds:09d}"
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', local)}{fraction}{zone}"


def go_time_nanoseconds(text: str) -> str:
    """An RFC 3339 instant as Go prints it, in UTC when it came so: `2026-11-23 22:07:19.277 +0000 UTC`."""
    seconds, nanoseconds = parse_rfc3339(text)
    fraction = f".{nanoseconds:09d}".rstrip("0").rstrip(".")
    if not text.endswith("Z"):
        shown = go_time(seconds)
        return f"{shown[:19]}{fraction}{shown[19:]}"
    return f"{time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(seconds))}{fraction} +0000 UTC"
