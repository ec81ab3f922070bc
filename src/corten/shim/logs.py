"""The container's log file, written where the output is read, so that it loses nothing when the daemon dies.

Runs in the shim; stdlib only. The format is Docker's json-file: one JSON object a line with `log` (the text with its
newline), `stream` and `time` (RFC 3339, nanoseconds, UTC); a line above 16 KiB is split into records without a
newline at their ends. `max_size` and `max_file` rotate `x.log` to `x.log.1`, `.2`, ... as Docker does.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from json.encoder import encode_basestring_ascii as _quote
from typing import Any

_PARTIAL = 16 * 1024


def _timestamp(now_ns: int) -> str:
    seconds, nanoseconds = divmod(now_ns, 1_000_000_000)
    parts = time.gmtime(seconds)
    return (
        f"{parts.tm_year:04d}-{parts.tm_mon:02d}-{parts.tm_mday:02d}"
        f"T{parts.tm_hour:02d}:{parts.tm_min:02d}:{parts.tm_sec:02d}.{nanoseconds:09d}Z"
    )


class JsonFileLog:
    """Appends records to `path`. A failing write (full disk) drops the record and never stops the container."""

    def __init__(self, path: str, *, max_size: int = 0, max_file: int = 1) -> None:
        self._path = path
        self._max_size = max_size
        self._max_file = max(1, max_file)
        self._pending: dict[str, bytes] = {}
        self._open()

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        self._fd = os.open(self._path, flags, 0o640)
        self._size = os.fstat(self._fd).st_size

    def write(self, stream: str, data: bytes) -> None:
        """Record what one read of `stream` gave; an unfinished line waits for its end."""
        pending = self._pending.pop(stream, b"")
        if pending:
            data = pending + data
        lines = data.split(b"\n")
        rest = lines.pop()
        tail = f'","stream":"{stream}","time":"{_timestamp(time.time_ns())}"}}\n'
        out: list[str] = []
        for line in lines:
            if len(line) >= _PARTIAL:
                out.extend(self._split(line, tail, keep_short=True))
            else:
                out.append('{"log":"' + _quote(line.decode("utf-8", "replace"))[1:-1] + "\\n" + tail)
        while len(rest) >= _PARTIAL:
            out.extend(self._split(rest[:_PARTIAL], tail, keep_short=False))
            rest = rest[_PARTIAL:]
        if rest:
            self._pending[stream] = rest
        if out:
            self._append("".join(out).encode())

    def flush(self) -> None:
        """Record unfinished lines: the process has ended."""
        tail = _timestamp(time.time_ns())
        for stream, rest in sorted(self._pending.items()):
            text = _quote(rest.decode("utf-8", "replace"))
            self._append(f'{{"log":{text},"stream":"{stream}","time":"{tail}"}}\n'.encode())
        self._pending.clear()

    def close(self) -> None:
        """Flush and close."""
        self.flush()
        os.close(self._fd)

    @staticmethod
    def _split(line: bytes, tail: str, *, keep_short: bool) -> Iterator[str]:
        for start in range(0, len(line), _PARTIAL):
            piece = line[start : start + _PARTIAL]
            last = keep_short and start + _PARTIAL >= len(line)
            yield '{"log":"' + _quote(piece.decode("utf-8", "replace"))[1:-1] + ("\\n" if last else "") + tail

    def _append(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            if self._max_size and self._size and self._size + len(data) > self._max_size:
                self._rotate()
            view = memoryview(data)
            while view:
                written = os.write(self._fd, view)
                self._size += written
                view = view[written:]

    def _rotate(self) -> None:
        os.close(self._fd)
        try:
            if self._max_file > 1:
                for number in range(self._max_file - 2, 0, -1):
                    with contextlib.suppress(FileNotFoundError):
                        os.rename(f"{self._path}.{number}", f"{self._path}.{number + 1}")
                os.rename(self._path, f"{self._path}.1")
            else:
                os.truncate(self._path, 0)
        finally:
            self._open()


def replay(path: str) -> Iterator[tuple[str, bytes]]:
    """(stream, text) of each record so far, rotated files first; for attach with `logs=1`. Skips broken lines."""
    numbers = [0]
    while os.path.exists(f"{path}.{numbers[-1] + 1}"):
        numbers.append(numbers[-1] + 1)
    for number in reversed(numbers):
        with contextlib.suppress(OSError), open(f"{path}.{number}" if number else path, "rb") as file:
            for line in file:
                with contextlib.suppress(ValueError, KeyError, AttributeError):
                    record: dict[str, Any] = json.loads(line)
                    yield str(record["stream"]), str(record["log"]).encode("utf-8", "surrogatepass")
