"""Which records a client asks for: BuildKit's filters of its history. Pure; daemon.

A filter is CSV, all of whose parts must hold (`status==error,startedAt>=1h`); of several filters one has to. Texts are
compared by `==`, `!=` and `~=` (a regular expression of containerd's; here: a part of the text), times by `<` and so on
with a duration before now, or an RFC 3339 time.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Sequence
from datetime import datetime

from corten.build.buildkit.messages.history import Record
from corten.build.buildkit.messages.types import Timestamp
from corten.build.git.url import parse_git_url
from corten.errors import InvalidArgument
from corten.lib.grpc.status import Code

_TEXTS = ("==", "!=", "~=")
_ORDERS = (">=", "<=", ">", "<")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_FILTERS = 64
_LENGTH = 1024  # a regular expression looks at them, on the loop
Test = Callable[[Record], bool]


def selection(filters: Sequence[str], now_s: float) -> Test:
    """What all of it amounts to. Raises InvalidArgument."""
    if len(filters) > _FILTERS or any(len(text) > _LENGTH for text in filters):
        raise InvalidArgument(f"at most {_FILTERS} filters of {_LENGTH} characters are taken")
    tests = [_all(text, now_s) for text in filters if text]
    return lambda record: not tests or any(test(record) for test in tests)


def newest(records: Sequence[Record], limit: int) -> list[Record]:
    """The newest `limit` of them, in order of time; all for 0. Raises InvalidArgument."""
    if limit < 0:
        raise InvalidArgument(f"invalid limit {limit}")
    found = sorted(records, key=lambda record: seconds(record.created_at))
    return found[-limit:] if limit else found


def status_of(record: Record) -> str:
    """In BuildKit's words."""
    if record.completed_at is None:
        return "running"
    if record.error is None:
        return "completed"
    return "canceled" if record.error.code == Code.CANCELLED else "error"


def seconds(moment: Timestamp | None) -> float:
    """A moment, in seconds."""
    return moment.seconds + moment.nanos / 1e9 if moment is not None else 0.0


def _all(text: str, now_s: float) -> Test:
    try:
        tests = [_one(part, now_s) for part in next(csv.reader([text]), [])]
    except csv.Error as error:
        raise InvalidArgument(f"invalid filter {text[:64]!r}: {error}") from error
    return lambda record: all(test(record) for test in tests)


def _one(text: str, now_s: float) -> Test:
    for operator in (*_TEXTS, *_ORDERS):
        name, found, value = text.partition(operator)
        if found and operator in _TEXTS and name in ("ref", "status", "repository"):
            return _text(name, operator, value.strip('"'))
        if found and operator in _ORDERS and name in ("startedAt", "completedAt", "duration"):
            return _order(name, operator, value, now_s)
    raise InvalidArgument(f"the filter {text[:64]!r} is not supported")


def _text(name: str, operator: str, value: str) -> Test:
    def test(record: Record) -> bool:
        said = {"ref": record.ref, "status": status_of(record)}.get(name) or _repository(record)
        if operator == "~=":
            return value in said
        return (said == value) is (operator == "==")

    return test


def _repository(record: Record) -> str:
    source = record.frontend_attrs.get("vcs:source", "")
    try:
        url = parse_git_url(record.frontend_attrs.get("context", "")) if not source else None
    except ValueError:
        return ""
    return source or (url.remote if url is not None else "")


def _order(name: str, operator: str, value: str, now_s: float) -> Test:
    wanted = _span(value)
    if name != "duration":
        wanted = now_s - wanted if wanted is not None else _moment(value)
    elif wanted is None:
        raise InvalidArgument(f"invalid duration {value[:64]!r}")
    bound = wanted

    def test(record: Record) -> bool:
        began, ended = seconds(record.created_at), seconds(record.completed_at)
        said = {"startedAt": began, "completedAt": ended}.get(name, ended - began if ended else 0.0)
        return {">=": said >= bound, "<=": said <= bound, ">": said > bound, "<": said < bound}[operator]

    return test


def _span(text: str) -> float | None:
    """The seconds of a duration of Go's; None for something else."""
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def _moment(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        raise InvalidArgument(f"invalid time {text[:64]!r}") from None
