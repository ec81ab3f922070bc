"""--since and --until: ages, dates and Unix times, as the API's seconds with a fraction."""

from __future__ import annotations

import time

from corten.cli.duration import parse_duration
from corten.cli.human_time import parse_rfc3339

_FORMS = {10: "%Y-%m-%d", 13: "%Y-%m-%dT%H", 16: "%Y-%m-%dT%H:%M", 19: "%Y-%m-%dT%H:%M:%S"}


def api_timestamp(text: str, now: float) -> str:
    """`42m` before `now`, `2013-01-02T13:23:37Z`, `2013-01-02` (local time), or seconds as they are."""
    if text in ("", "0"):
        return text
    try:
        nanoseconds = int(now * 10**9) - parse_duration(text)
    except ValueError:
        pass
    else:
        return f"{nanoseconds // 10**9}.{nanoseconds % 10**9:09d}"
    if "-" not in text:
        seconds, _, fraction = text.partition(".")
        if not (seconds.isdigit() and (not fraction or fraction.isdigit())):
            raise ValueError(f'failed to parse value as time or duration: "{text}"')
        return text
    head, _, fraction = text.partition(".")
    if text.endswith(("Z", "z")) or "+" in text or text.count("-") > 2:
        try:
            whole, nanoseconds = parse_rfc3339(text)
        except ValueError:
            raise ValueError(f'failed to parse value as time or duration: "{text}"') from None
        return f"{whole}.{nanoseconds:09d}"
    try:
        local = time.strptime(head, _FORMS[len(head)])
    except (KeyError, ValueError):
        raise ValueError(f'failed to parse value as time or duration: "{text}"') from None
    return f"{int(time.mktime(local))}.{int(f'{fraction[:9]:0<9}' or 0):09d}"
