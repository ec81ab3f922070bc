"""`corten logs`."""

from __future__ import annotations

import time

from corten.cli.command import Call, Command
from corten.cli.errors import CliError
from corten.cli.option import Option
from corten.cli.streams import write_all
from corten.cli.timestamps import api_timestamp
from corten.client.frames import STDERR, FrameReader
from corten.client.query import quote


def logs(call: Call) -> None:
    """Copy the log to this process's stdout and stderr."""
    values, name = call.values, call.arguments[0]
    found = call.client.call("GET", f"/containers/{quote(name)}/json")
    now = time.time()
    query = {
        "stdout": True,
        "stderr": True,
        "since": _time(values["since"], "since", now),
        "until": _time(values["until"], "until", now),
        "timestamps": values["timestamps"],
        "follow": values["follow"],
        "tail": values["tail"],
        "details": values["details"],
    }
    conn = call.client.stream("GET", f"/containers/{found['Id']}/logs", query=query)
    if found["Config"]["Tty"]:
        for piece in conn.pieces():
            write_all(1, piece)
        return
    reader = FrameReader()
    for piece in conn.pieces():
        for stream, payload in reader.feed(piece):
            write_all(2 if stream >= STDERR else 1, payload)


def _time(text: str, option: str, now: float) -> str:
    try:
        return api_timestamp(text, now)
    except ValueError as error:
        raise CliError(f'invalid value for "{option}": {error}') from None


COMMAND = Command(
    "[OPTIONS] CONTAINER",
    logs,
    (
        Option("--details", "bool", "Show the extra attributes of each line"),
        Option("-f, --follow", "bool", "Go on with what is written from now on"),
        Option("--since", "string", 'Begin here: a time ("2013-01-02T13:23:37Z") or an age ("42m")'),
        Option("-n, --tail", "string", "Number of lines to show from the end", default="all"),
        Option("-t, --timestamps", "bool", "Show the time of each line"),
        Option("--until", "string", 'End here: a time ("2013-01-02T13:23:37Z") or an age ("42m")'),
    ),
    least=1,
    most=1,
)
