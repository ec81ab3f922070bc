"""Signals by name or number, as `docker kill -s` and StopSignal take them. Pure."""

from __future__ import annotations

import signal

from corten.errors import InvalidArgument
from corten.spec.docker import messages

_NAMES = {entry.name.removeprefix("SIG"): int(entry) for entry in signal.Signals}
_NAMES.update({"CLD": int(signal.SIGCHLD), "IOT": int(signal.SIGABRT), "POLL": int(signal.SIGIO)})
_MAX = 64


def parse_signal(text: str) -> int:
    """`SIGTERM`, `term`, `15`, `RTMIN+3`. Raises InvalidArgument with Docker's text."""
    word = text.strip().upper()
    if word.isascii() and word.isdigit():
        number = int(word[:4])
        if 0 < number <= _MAX:
            return number
        raise InvalidArgument(messages.INVALID_SIGNAL.format(text[:32]))
    word = word.removeprefix("SIG")
    number = _NAMES.get(word, 0)
    if not number:
        base, sign, offset = word[:5], word[5:6], word[6:]
        if base in ("RTMIN", "RTMAX") and sign in ("+", "-") and offset.isascii() and offset.isdigit():
            number = _NAMES[base] + int(offset[:2]) * (1 if sign == "+" else -1)
    if not 0 < number <= _MAX:
        raise InvalidArgument(messages.INVALID_SIGNAL.format(text[:32]))
    return number


def signal_name(number: int) -> str:
    """For people: `SIGTERM`."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
