"""What is known of a running build: its steps, their sub-lines and output, from status messages. Pure.

A message is SolveStatus of the engine (`spec/docker/solve_status.py`) as JSON: a later vertex or status replaces the
one with its digest or id. Both displays read from here.
"""

from __future__ import annotations

import codecs
from binascii import a2b_base64

from corten.cli.build.progress.figures import nanoseconds, since_start
from corten.cli.build.progress.window import Window

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Mapping, Sequence
    from typing import Any

_KEPT_BYTES = 2 << 20  # of a step's output, for the case that it fails
_KEPT_LINES = 20_000
_CANCELED = "context canceled"


class SubLine:
    """One thing that a step is about: a transfer, a layer that is written. Times are nanoseconds since 1970."""

    __slots__ = ("completed", "current", "id", "started", "timestamp", "total")

    def __init__(self, name: str) -> None:
        self.id = name
        self.current = self.total = 0
        self.started: int | None = None
        self.completed: int | None = None
        self.timestamp: int | None = None


class Step:
    """One vertex. `index` is its number in the plain display, 0 before it has one.

    `fresh` is output that was not shown yet: lines, whose last one is not finished when `partial`.
    """

    def __init__(self, digest: str) -> None:
        self.digest = digest
        self.name = ""
        self.index = 0
        self.started: int | None = None
        self.completed: int | None = None
        self.cached = False
        self.error = ""
        self.runs: dict[int, int | None] = {}
        self.sub_lines: dict[str, SubLine] = {}
        self.changed_lines: set[str] = set()
        self.warnings: list[str] = []
        self.fresh: list[str] = []
        self.partial = False
        self._kept: deque[str] | None = None
        self.window = Window()
        self.count = 0
        self.blocked_since: float | None = None
        self._kept_size = 0
        self._decoders: dict[int, codecs.IncrementalDecoder] = {}

    @property
    def is_canceled(self) -> bool:
        """Whether it ended because another one failed, or the client went away."""
        return self.error.endswith(_CANCELED)

    @property
    def has_failed(self) -> bool:
        """Whether it is to blame."""
        return bool(self.error) and not self.is_canceled

    @property
    def is_completed(self) -> bool:
        """Whether its last run has ended."""
        return bool(self.runs) and self.runs[max(self.runs)] is not None

    def seconds(self, now_ns: int) -> float:
        """How long it has run in all; runs that overlap count once."""
        total, reached = 0, 0
        for start in sorted(self.runs):
            stop = self.runs[start]
            stop = max(now_ns, start) if stop is None else stop
            total += max(0, stop - max(start, reached))
            reached = max(reached, stop)
        return total / 1e9

    def note(self, count: int, now: float) -> None:
        """Something has happened: `blocked_since` is when the first of what was not shown yet did."""
        if self.count == 0:
            self.blocked_since = now
        self.count += count

    def write(self, stream: int, data: bytes, at_ns: int | None) -> None:
        """A piece of output; each line of it begins with the time."""
        decoder = self._decoders.setdefault(stream, codecs.getincrementaldecoder("utf-8")("replace"))
        text = decoder.decode(data)
        self.window.write(text)
        if not text:
            return
        offset = max(0, (at_ns or 0) - (max(self.runs) if self.runs else at_ns or 0))
        pieces = text.split("\n")
        ends = pieces[-1] == ""
        for number, piece in enumerate(pieces[:-1] if ends else pieces):
            if number == 0 and self.partial:
                self._go_on(piece)
            else:
                self._add(f"{since_start(offset)} {piece}")
        self.partial = not ends

    @property
    def kept(self) -> Sequence[str]:
        """Its last lines, for the case that it fails."""
        return self._kept or ()

    def forget(self) -> None:
        """It has not failed."""
        self._kept = None
        self._kept_size = 0

    def _add(self, line: str) -> None:
        self.fresh.append(line)
        if self._kept is None:
            from collections import deque

            self._kept = deque(maxlen=_KEPT_LINES)
        self._kept.append(line)
        self._kept_size += len(line)
        self._trim()

    def _go_on(self, piece: str) -> None:
        self._kept_size += len(piece)
        if self._kept:
            self._kept[-1] += piece
        if self.fresh:
            self.fresh[-1] += piece
        else:
            self.fresh.append(piece)
        self._trim()

    def _trim(self) -> None:
        while self._kept is not None and self._kept_size > _KEPT_BYTES and len(self._kept) > 1:
            self._kept_size -= len(self._kept.popleft())


class Trace:
    """All steps; `updated` are those that have something new, by digest."""

    def __init__(self) -> None:
        self.steps: dict[str, Step] = {}
        self.in_order: list[Step] = []
        self.updated: dict[str, Step] = {}
        self.started: int | None = None

    @property
    def completed(self) -> int:
        """How many steps are over."""
        return sum(step.is_completed for step in self.steps.values())

    def update(self, status: Mapping[str, Any], now: float) -> None:
        """Take a message; `now` is seconds of any clock that only goes forward."""
        for vertex in status.get("vertexes") or ():
            self._vertex(vertex, now)
        for line in status.get("statuses") or ():
            self._sub_line(line, now)
        for warning in status.get("warnings") or ():
            step = self.steps.get(str(warning.get("vertex")))
            if step is not None:
                step.warnings.append(text_of(warning.get("short")))
                step.note(1, now)
        for log in status.get("logs") or ():
            step = self.steps.get(str(log.get("vertex")))
            if step is not None:
                data = a2b_base64(log.get("data") or "")
                step.write(int(log.get("stream") or 1), data, nanoseconds(log.get("timestamp")))
                self._changed(step, now)

    def _vertex(self, vertex: Mapping[str, Any], now: float) -> None:
        digest = str(vertex.get("digest"))
        step = self.steps.get(digest)
        if step is None:
            step = self.steps[digest] = Step(digest)
        started, completed = nanoseconds(vertex.get("started")), nanoseconds(vertex.get("completed"))
        if started is None:
            step.name = step.name or str(vertex.get("name") or "")
            return  # announced, perhaps once more
        before = (step.name, step.started, step.completed, step.cached, step.error)
        if not step.runs:
            self.in_order.append(step)
        if self.started is None:
            self.started = started
        step.name = str(vertex.get("name") or "")
        step.started, step.completed = started, completed
        step.cached, step.error = bool(vertex.get("cached")), str(vertex.get("error") or "")
        step.runs[started] = completed
        if before != (step.name, step.started, step.completed, step.cached, step.error):
            self._changed(step, now)
        if completed is not None and not step.error:
            step.forget()

    def _sub_line(self, line: Mapping[str, Any], now: float) -> None:
        step = self.steps.get(str(line.get("vertex")))
        if step is None:
            return
        name = str(line.get("id"))
        found = step.sub_lines.get(name)
        if found is None:
            found = step.sub_lines[name] = SubLine(name)
        found.current, found.total = int(line.get("current") or 0), int(line.get("total") or 0)
        found.started, found.completed = nanoseconds(line.get("started")), nanoseconds(line.get("completed"))
        found.timestamp = nanoseconds(line.get("timestamp"))
        step.changed_lines.add(name)
        self._changed(step, now)

    def _changed(self, step: Step, now: float) -> None:
        step.note(1, now)
        if step.runs:
            self.updated[step.digest] = step


def failures(trace: Trace, last: int | None = None) -> str:
    """The steps that have failed with what they have written, or its `last` lines."""
    text = ""
    for step in trace.in_order:
        if not step.has_failed:
            continue
        lines = list(step.kept)
        lines = lines if last is None else lines[-last:]
        text += "\n".join(("------", f" > {step.name}:", *lines, "------", ""))
    return text


def text_of(data: str | None) -> str:
    """What is base64 in JSON, as text."""
    return a2b_base64(data or "").decode("utf-8", "replace")
