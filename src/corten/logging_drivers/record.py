"""One record of a json-file log, and what clients get of it. Pure; daemon only.

Docker's json-file format: one JSON object a line, `log` (the text with its newline), `stream`, `time` (RFC 3339,
nanoseconds, UTC) and perhaps `attrs`. Times written with nine digits and a Z compare as text.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from corten.errors import InvalidArgument
from corten.lib.timestamps import parse_rfc3339

_FIXED = len("2006-01-02T15:04:05.000000000Z")
_STREAM_NUMBER = {"stdin": 0, "stdout": 1, "stderr": 2}


class LogRecord(msgspec.Struct):
    """A line of the file."""

    log: str = ""
    stream: str = "stdout"
    time: str = ""
    attrs: dict[str, str] | None = None


_decoder = msgspec.json.Decoder(LogRecord)


def decode(line: bytes | memoryview) -> LogRecord | None:
    """The record of a line; None for what is no record (a torn write, a stranger's line)."""
    try:
        record = _decoder.decode(line)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    if len(record.time) != _FIXED or record.time[-1] != "Z":
        try:
            record.time = fixed_time(parse_rfc3339(record.time))
        except InvalidArgument:
            return None
    return record


def fixed_time(time_ns: int) -> str:
    """Unix nanoseconds as RFC 3339 with all nine digits (Go's jsonmessage.RFC3339NanoFixed)."""
    import time

    seconds, fraction = divmod(max(0, time_ns), 10**9)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{fraction:09d}Z"


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which records, and in which form. `since` and `until` are fixed times, "" for open."""

    stdout: bool = True
    stderr: bool = True
    since: str = ""
    until: str = ""
    timestamps: bool = False
    details: bool = False
    framed: bool = True

    def render(self, records: Iterable[LogRecord]) -> bytes:
        """The chosen records as the client gets them: framed by stream, or raw for a terminal."""
        out: list[bytes] = []
        for record in records:
            if not (self.stderr if record.stream == "stderr" else self.stdout):
                continue
            text = record.log
            if self.details:
                text = f"{_details(record.attrs)} {text}"
            if self.timestamps:
                text = f"{record.time} {text}"
            payload = text.encode("utf-8", "surrogatepass")
            if self.framed:
                number = _STREAM_NUMBER.get(record.stream, 1)
                out.append(number.to_bytes(4, "little") + len(payload).to_bytes(4, "big"))
            out.append(payload)
        return b"".join(out)


def _details(attrs: dict[str, str] | None) -> str:
    return ",".join(f"{name}={value}" for name, value in sorted((attrs or {}).items()))
