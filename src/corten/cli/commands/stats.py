"""`corten stats`."""

from __future__ import annotations

import select
import sys
import time

from corten.cli.command import Call, Command
from corten.cli.container_stats import COLUMNS, TABLE, Sample, full_columns
from corten.cli.filters import encode_filters
from corten.cli.option import Option
from corten.cli.table_output import FORMAT_HELP, ListFormat, write_list
from corten.client import json_text
from corten.client.errors import ApiError, ConnectionBroken
from corten.client.query import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from corten.client.api import Client
    from corten.client.connection import Connection

_REFRESH_S = 0.5
_CLEAR = "\x1b[H\x1b[J"


def stats(call: Call) -> None:
    """Show a table again and again, or with --no-stream once."""
    values = call.values
    text = values["format"]
    if not text:
        from corten.cli.config_file import read_config

        text = str(read_config().get("statsFormat") or "")
    form = ListFormat(text, table=TABLE)
    columns = full_columns() if values["no-trunc"] else COLUMNS
    if values["no-stream"]:
        samples = _once(call)
        write_list(samples, columns, form, type_name="*container.statsContext")
        return
    watch = _Watch(call.client, list(call.arguments), everything=values["all"])
    while True:
        samples = watch.collect(_REFRESH_S)
        if form.is_table and sys.stdout.isatty():
            sys.stdout.write(_CLEAR)
        write_list(samples, columns, form, type_name="*container.statsContext")
        sys.stdout.flush()
        if call.arguments and watch.finished:
            return


def _names(client: Client, *, everything: bool) -> list[str]:
    query = {"all": everything, "filters": "" if everything else encode_filters([("status", "running")])}
    return [item["Id"] for item in client.call("GET", "/containers/json", query=query) or []]


def _once(call: Call) -> list[Sample]:
    """One sample of each, all asked for at the same time."""
    client = call.client
    names = call.arguments or _names(client, everything=call.values["all"])
    asked = []
    for name in names:
        path = f"/containers/{quote(name)}/stats"
        asked.append((name, client.send("GET", path, query={"stream": "0"}, connection=client.connection())))
    samples = []
    for name, conn in asked:
        sample = Sample(name)
        try:
            sample.update(json_text.loads(client.answer(conn).read_body()))
        except ApiError:
            if call.arguments:
                raise
            continue  # it has gone since the list was made
        finally:
            conn.close()
        samples.append(sample)
    return samples


class _Watch:
    """The streams of several containers, read in one poll loop. Without names, all containers, also later ones."""

    def __init__(self, client: Client, names: list[str], *, everything: bool) -> None:
        self._client = client
        self._fixed = bool(names)
        self._everything = everything
        self._poll = select.poll()
        self._streams: dict[int, tuple[Connection, Sample, bytes]] = {}
        self._listed = 0.0
        for name in names:
            self._open(name, strict=True)

    @property
    def finished(self) -> bool:
        """Whether no container is left."""
        return not self._streams

    def _open(self, name: str, *, strict: bool = False) -> None:
        try:
            conn = self._client.stream("GET", f"/containers/{quote(name)}/stats", query={"stream": "1"})
        except ApiError:
            if strict:
                raise
            return
        self._streams[conn.fileno()] = (conn, Sample(name), b"")
        self._poll.register(conn.fileno(), select.POLLIN)

    def _look_for_new(self) -> None:
        if self._fixed or time.monotonic() - self._listed < 1.0:
            return
        self._listed = time.monotonic()
        known = {sample.name for _, sample, _ in self._streams.values()}
        for name in _names(self._client, everything=self._everything):
            if name not in known:
                self._open(name)

    def collect(self, seconds: float) -> list[Sample]:
        """Read for some time; returns the newest sample of each container."""
        self._look_for_new()
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            for fd, _ in self._poll.poll(int(left * 1000) + 1):
                self._read(fd)
        return [sample for _, sample, _ in self._streams.values()]

    def _read(self, fd: int) -> None:
        conn, sample, text = self._streams[fd]
        try:
            piece = conn.read_some()
        except ConnectionBroken:
            piece = b""
        if not piece:
            self._poll.unregister(fd)
            conn.close()
            del self._streams[fd]
            return
        *whole, text = (text + piece).split(b"\n")
        for line in whole:
            if line.strip():
                sample.update(json_text.loads(line))
        self._streams[fd] = (conn, sample, text)


COMMAND = Command(
    "[OPTIONS] [CONTAINER...]",
    stats,
    (
        Option("-a, --all", "bool", "Show stopped containers too"),
        Option("--format", "string", FORMAT_HELP),
        Option("--no-stream", "bool", "Show one result and end"),
        Option("--no-trunc", "bool", "Show long texts uncut"),
    ),
    most=None,
)
