"""What there is to see of a running build, for any number of readers that come when they like. Daemon's loop.

Each reader gets all that was said so far, and then what changes, at most some ten times a second: what has changed
twice in between is told once. Nothing waits for a reader; the output that is kept for late ones is bounded.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from datetime import UTC, datetime
from itertools import takewhile
from typing import TypeVar

from msgspec.structs import replace

from corten.spec.docker.solve_status import SolveStatus, SolveVertex, VertexLog, VertexStatus, VertexWarning

_INTERVAL_S = 0.1
_KEPT_OUTPUT = 16 << 20  # bytes
_PIECE_BYTES = 128  # what a piece of output takes in memory besides itself
_MESSAGE_OUTPUT = 1 << 20
_MANY_STATUSES = 4096
_MANY_WARNINGS = 1024
_WARNING_BYTES = 4 << 20  # of all together, the files that they are about included: a client takes 16 MiB at once
T = TypeVar("T")


class StatusBoard:
    """The status of one build; `now` gives the time."""

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now
        self._number = 0
        self._vertexes: dict[str, tuple[int, SolveVertex]] = {}  # by digest; what has changed last is last
        self._statuses: dict[tuple[str, str], tuple[int, VertexStatus]] = {}
        self._logs: deque[tuple[int, VertexLog]] = deque()
        self._kept = 0
        self._warnings: list[tuple[int, VertexWarning]] = []
        self._warned = 0
        self._readers: set[asyncio.Future[None]] = set()
        self._is_over = False

    # -- what is said

    def announce(self, digest: str, name: str, inputs: list[str] | None = None) -> None:
        """There is a step, which may run later. What is known already stays."""
        if digest not in self._vertexes:
            self._put(SolveVertex(digest=digest, name=name, inputs=list(inputs or ())))

    def started(self, digest: str) -> None:
        """A step runs."""
        vertex = self._of(digest)
        if vertex is not None and (vertex.started is None or vertex.completed is not None):
            self._put(replace(vertex, started=self._now(), completed=None))

    def completed(self, digest: str, *, cached: bool = False, error: str = "") -> None:
        """A step is over; `cached` when it was done before, `error` when it has failed."""
        vertex = self._of(digest)
        if vertex is None or vertex.completed is not None:
            return
        now = self._now()
        self._end_statuses(digest, now)
        self._put(replace(vertex, started=vertex.started or now, completed=now, cached=cached, error=error))

    def is_running(self, digest: str) -> bool:
        """Whether a step has begun and not ended."""
        vertex = self._of(digest)
        return vertex is not None and vertex.started is not None and vertex.completed is None

    def unfinished(self) -> list[str]:
        """The steps that run."""
        return [digest for digest in self._vertexes if self.is_running(digest)]

    def progress(
        self, digest: str, line: str, *, name: str = "", current: int = 0, total: int = 0, done: bool = False
    ) -> None:
        """How far a step is with something, which `line` is the name of."""
        before = self._statuses.pop((digest, line), None)
        if before is None and len(self._statuses) >= _MANY_STATUSES:
            return
        now = self._now()
        status = VertexStatus(
            id=line,
            vertex=digest,
            name=name or (before[1].name if before else ""),
            current=current,
            total=total,
            timestamp=now,
            started=before[1].started if before else now,
            completed=now if done else None,
        )
        self._statuses[digest, line] = self._next(), status
        self._wake()

    def output(self, digest: str, stream: int, data: bytes) -> None:
        """A step has written this."""
        log = VertexLog(vertex=digest, stream=stream, data=data, timestamp=self._now())
        self._logs.append((self._next(), log))
        self._kept += len(data) + _PIECE_BYTES
        while self._kept > _KEPT_OUTPUT and len(self._logs) > 1:
            _, dropped = self._logs.popleft()
            self._kept -= len(dropped.data) + _PIECE_BYTES
        self._wake()

    def warn(self, warning: VertexWarning) -> None:
        """Something that people should know; without the file it is about, or not at all, when there is too much."""
        room = _WARNING_BYTES - self._warned
        if _size(warning) > room:
            warning = replace(warning, source_info=None)
        if len(self._warnings) < _MANY_WARNINGS and _size(warning) <= room:
            self._warned += _size(warning)
            self._warnings.append((self._next(), warning))
            self._wake()

    def end(self) -> None:
        """Nothing more will be said."""
        self._is_over = True
        self._wake()

    @property
    def warnings(self) -> int:
        """How many there are."""
        return len(self._warnings)

    def counts(self) -> tuple[int, int, int]:
        """How many steps there are, are over, and were there already."""
        vertexes = [vertex for _, vertex in self._vertexes.values()]
        return (
            len(vertexes),
            sum(vertex.completed is not None for vertex in vertexes),
            sum(vertex.cached for vertex in vertexes),
        )

    # -- what is read

    async def messages(self) -> AsyncGenerator[SolveStatus, None]:
        """What was said, and what will be, to the end."""
        number = 0
        while True:
            message, number, is_all = self.since(number)
            if message is not None:
                yield message
            if not is_all:
                continue
            if self._is_over:
                return
            if message is not None:
                await self._pause()
            if self._number == number and not self._is_over:
                await self._change()

    def since(self, number: int) -> tuple[SolveStatus | None, int, bool]:
        """What has changed after `number`, the number to go on from, and whether that is all."""
        logs, last = self._logs_since(number)
        is_all = last is None
        vertexes = list(_newer(self._vertexes, number))
        statuses = list(_newer(self._statuses, number))
        if not is_all:  # output comes before the end of its step
            vertexes = [replace(vertex, completed=None, error="") for vertex in vertexes]
        warnings = [warning for changed, warning in self._warnings if changed > number]
        message = None
        if vertexes or statuses or logs or warnings:
            message = SolveStatus(vertexes=vertexes, statuses=statuses, logs=logs, warnings=warnings if is_all else [])
        return message, self._number if last is None else last, is_all

    def _logs_since(self, number: int) -> tuple[list[VertexLog], int | None]:
        """The output after `number`, neighbours put together; the last number when there is more than a message has."""
        found: list[tuple[VertexLog, list[bytes]]] = []
        size = 0
        more_after: int | None = None
        for changed, log in _tail(self._logs, number):
            if found and (found[-1][0].vertex, found[-1][0].stream) == (log.vertex, log.stream):
                found[-1][1].append(log.data)
            else:
                found.append((log, [log.data]))
            size += len(log.data)
            if size >= _MESSAGE_OUTPUT and changed != self._logs[-1][0]:
                more_after = changed
                break
        return [replace(first, data=b"".join(pieces)) for first, pieces in found], more_after

    async def _change(self) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._readers.add(future)
        try:
            await future
        finally:
            self._readers.discard(future)

    async def _pause(self) -> None:
        """Let some more happen; not longer than until the end."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_INTERVAL_S):
                while not self._is_over:
                    await self._change()

    # -- inside

    def _of(self, digest: str) -> SolveVertex | None:
        found = self._vertexes.get(digest)
        return found[1] if found is not None else None

    def _put(self, vertex: SolveVertex) -> None:
        self._vertexes.pop(vertex.digest, None)
        self._vertexes[vertex.digest] = self._next(), vertex
        self._wake()

    def _end_statuses(self, digest: str, now: datetime) -> None:
        """What a step was busy with ends with it."""
        for key, (_, status) in list(self._statuses.items()):
            if key[0] == digest and status.completed is None:
                del self._statuses[key]
                self._statuses[key] = self._next(), replace(status, completed=now, timestamp=now)

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _wake(self) -> None:
        for future in self._readers:
            if not future.done():
                future.set_result(None)


def _size(warning: VertexWarning) -> int:
    """What a warning takes in a message, about. Bytes."""
    data = warning.source_info.data if warning.source_info is not None else b""
    return len(data) + len(warning.short) + sum(map(len, warning.detail)) + len(warning.url)


def _newer(entries: dict[str, tuple[int, T]] | dict[tuple[str, str], tuple[int, T]], number: int) -> Iterator[T]:
    """What has changed after `number`, in order."""
    found: list[T] = []
    for changed, value in reversed(entries.values()):
        if changed <= number:
            break
        found.append(value)
    return reversed(found)


def _tail(logs: deque[tuple[int, VertexLog]], number: int) -> list[tuple[int, VertexLog]]:
    """The pieces after `number`, in order. There may be a hundred thousand."""
    found = list(takewhile(lambda entry: entry[0] > number, reversed(logs)))
    found.reverse()
    return found
