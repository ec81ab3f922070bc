"""Where log lines go and what they look like: `key=value` on standard error. Daemon only; no other file formats logs.

    time="2026-01-02T03:04:05.678901Z" level=info logger=corten.api msg="request" path=/info status=200

Values come from `extra=`; what may hold a secret (by its key, or as credentials in a URL) is written as `***`. A line
never holds control characters, whatever a client or an image put into it.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from typing import IO

LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
    "panic": logging.CRITICAL,
    "trace": logging.DEBUG,
}
_NAMES = {logging.DEBUG: "debug", logging.INFO: "info", logging.WARNING: "warning", logging.ERROR: "error"}
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_SECRET_KEY = re.compile(r"auth|password|passwd|secret|token|cookie|credential", re.IGNORECASE)
_URL_SECRET = re.compile(r"(?<=://)[^/@\s]+@")
_HEADER_SECRET = re.compile(r"(?i)\b(x-registry-(?:auth|config)|authorization|proxy-authorization)(\W+)\S+(?: \S+)?")
_PLAIN = re.compile(r"[A-Za-z0-9_./:@+,=%-]+", re.ASCII)


def redact(text: str) -> str:
    """`text` without credentials in URLs and authorization headers."""
    return _HEADER_SECRET.sub(r"\1\2***", _URL_SECRET.sub("***@", text))


def _quoted(value: object) -> str:
    text = redact(str(value))
    if _PLAIN.fullmatch(text):
        return text
    return json.dumps(text)


class KeyValueFormatter(logging.Formatter):
    """One line a record, whatever it holds."""

    def format(self, record: logging.LogRecord) -> str:
        """See logging.Formatter."""
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        parts = [
            f'time="{seconds}.{int(record.created % 1 * 1_000_000):06d}Z"',
            f"level={_NAMES.get(record.levelno, 'fatal')}",
            f"logger={record.name}",
            f"msg={json.dumps(redact(record.getMessage()))}",
        ]
        parts += [
            f"{key}={'***' if _SECRET_KEY.search(key) else _quoted(value)}"
            for key, value in vars(record).items()
            if key not in _STANDARD
        ]
        if record.exc_info and record.exc_info[1] is not None:
            parts.append(f"error={_quoted(repr(record.exc_info[1]))}")
            parts.append(f"trace={_quoted(self.formatException(record.exc_info))}")
        return " ".join(parts)


class JsonFormatter(KeyValueFormatter):
    """The same as one JSON object a line (`--log-format json`)."""

    def format(self, record: logging.LogRecord) -> str:
        """See logging.Formatter."""
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        fields = {
            "time": f"{seconds}.{int(record.created % 1 * 1_000_000):06d}Z",
            "level": _NAMES.get(record.levelno, "fatal"),
            "logger": record.name,
            "msg": redact(record.getMessage()),
        }
        for key, value in vars(record).items():
            if key not in _STANDARD:
                fields[key] = "***" if _SECRET_KEY.search(key) else redact(str(value))
        if record.exc_info and record.exc_info[1] is not None:
            fields["error"] = redact(repr(record.exc_info[1]))
            fields["trace"] = redact(self.formatException(record.exc_info))
        return json.dumps(fields)


def configure(*, level: str, json_lines: bool = False, stream: IO[str] | None = None) -> None:
    """Send the records of `corten.*` at `level` and above to `stream` (standard error)."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if json_lines else KeyValueFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    set_level(level)
    # What logging collects for each record and nobody here prints.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


def set_level(level: str) -> None:
    """Change what is logged; for a reload."""
    logging.getLogger("corten").setLevel(LEVELS[level])
