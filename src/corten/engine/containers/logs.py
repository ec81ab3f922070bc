"""GET /containers/{id}/logs: past records, then new ones until the run ends. Daemon only.

The log is the shim's file: this side only reads, in a thread, and is woken by inotify on the container's directory
(rotation renames the file, so that a watch on it alone would follow the wrong one). A slow client slows its own
cursor and nothing else.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from corten.engine.containers.live import Container, Ended
from corten.errors import InvalidArgument
from corten.errors import NotImplemented as NotOffered
from corten.lib import blocking
from corten.linux.inotify import (
    IN_CREATE,
    IN_DELETE,
    IN_DELETE_SELF,
    IN_MODIFY,
    IN_MOVED_FROM,
    IN_MOVED_TO,
    IN_ONLYDIR,
    Inotify,
)
from corten.logging_drivers.json_file import JsonFileReader
from corten.logging_drivers.record import LogRecord, Selection, fixed_time

_READABLE = {"", "json-file", "local"}
_WATCH = IN_MODIFY | IN_CREATE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE | IN_DELETE_SELF | IN_ONLYDIR


class ContainerLookup(Protocol):
    """The containers, as logs, stats and top need them (engine.containers.registry.Registry)."""

    def find(self, reference: str) -> Container:
        """By id, name or prefix. Raises NotFound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRequest:
    """What a client asks for; times in Unix nanoseconds. `tail` is -1 for everything."""

    stdout: bool
    stderr: bool
    follow: bool = False
    timestamps: bool = False
    details: bool = False
    tail: int = -1
    since_ns: int | None = None
    until_ns: int | None = None


class LogService:
    """The logs of all containers."""

    def __init__(self, *, containers: ContainerLookup) -> None:
        self._containers = containers

    def is_terminal(self, reference: str) -> bool:
        """Whether the container's output is a terminal's: then nothing is framed."""
        return self._containers.find(reference).record.config.tty

    def open(self, reference: str, request: LogRequest) -> AsyncIterator[bytes]:
        """The chosen records, rendered. Raises NotFound, InvalidArgument, NotImplemented at once."""
        container = self._containers.find(reference)
        if not (request.stdout or request.stderr):
            raise InvalidArgument("Bad parameters: you must choose at least one stream")
        config = container.record.host_config.log_config
        if config is not None and config.type not in _READABLE:
            raise NotOffered("configured logging driver does not support reading")
        selection = Selection(
            stdout=request.stdout,
            stderr=request.stderr,
            since=fixed_time(request.since_ns) if request.since_ns else "",
            until=fixed_time(request.until_ns) if request.until_ns is not None else "",
            timestamps=request.timestamps,
            details=request.details,
            framed=not container.record.config.tty,
        )
        return self._stream(container, request, selection)

    async def _stream(self, container: Container, request: LogRequest, selection: Selection) -> AsyncIterator[bytes]:
        path = container.record.log_path
        follow = request.follow and container.record.status.status.is_running
        end: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        if follow:
            container.exit_waiters.append(end)
        reader = await blocking.run(JsonFileReader, path, tail=request.tail, selection=selection)
        try:
            while data := await blocking.run(_batch, reader, selection):
                yield data
            if follow and not reader.finished:
                async for data in _follow(reader, path, selection, end, request.until_ns):
                    yield data
        finally:
            if end in container.exit_waiters:
                container.exit_waiters.remove(end)
            reader.close()


def _batch(reader: JsonFileReader, selection: Selection, *, follow: bool = False) -> bytes:
    """The next records as bytes, b"" at the end of what there is."""
    while True:
        records: list[LogRecord] = reader.follow() if follow else reader.read()
        if not records:
            return b""
        data = selection.render(records)
        if data:
            return data


async def _follow(
    reader: JsonFileReader, path: str, selection: Selection, end: asyncio.Future[Ended], until_ns: int | None
) -> AsyncIterator[bytes]:
    """What is written from now on, until the run has ended and the rest is read, or `until` has come."""
    loop = asyncio.get_running_loop()
    changed = asyncio.Event()
    notify = Inotify()
    try:
        notify.watch(os.path.dirname(path), _WATCH)
        loop.add_reader(notify.fd, _wake, notify, changed)
        end.add_done_callback(lambda _future: changed.set())
        while not reader.finished:
            over = end.done()
            changed.clear()
            while data := await blocking.run(_batch, reader, selection, follow=True):
                yield data
            if over:
                return
            wait = None if until_ns is None else (until_ns - time.time_ns()) / 1e9
            if wait is not None and wait <= 0:
                return
            if not changed.is_set():
                try:
                    await asyncio.wait_for(changed.wait(), wait)
                except TimeoutError:
                    return
    except FileNotFoundError:
        return  # removed while we looked
    finally:
        loop.remove_reader(notify.fd)
        notify.close()


def _wake(notify: Inotify, changed: asyncio.Event) -> None:
    notify.clear()
    changed.set()
