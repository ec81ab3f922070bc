"""Times as the API spells them, and durations as people read them. Pure."""

from __future__ import annotations

from corten.lib.timestamps import rfc3339_nano
from corten.spec.docker.container import ZERO_TIME

_SECOND = 1_000_000_000


def rfc3339(time_ns: int) -> str:
    """As Go's RFC3339Nano in UTC; 0 is Go's zero time."""
    return ZERO_TIME if time_ns <= 0 else rfc3339_nano(time_ns)


def human_duration(duration_ns: int) -> str:
    """How `docker ps` words an age, coarser the longer it is."""
    seconds = max(0, duration_ns) // _SECOND
    if seconds < 1:
        return "Less than a second"
    if seconds == 1:
        return "1 second"
    if seconds < 60:
        return f"{seconds} seconds"
    minutes = seconds // 60
    if minutes == 1:
        return "About a minute"
    if minutes < 60:
        return f"{minutes} minutes"
    hours = int(seconds / 3600 + 0.5)
    if hours == 1:
        return "About an hour"
    for limit, size, unit in ((48, 1, "hours"), (24 * 14, 24, "days"), (24 * 60, 24 * 7, "weeks")):
        if hours < limit:
            return f"{hours // size} {unit}"
    if hours < 24 * 365 * 2:
        return f"{hours // 24 // 30} months"
    return f"{int(seconds / 3600 / 24 / 365)} years"
