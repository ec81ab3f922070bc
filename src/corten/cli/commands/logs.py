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
    now = time.time()
    try:
        since, until = api_timestamp(values["since"], now), api_timestamp(values["until"], now)
    except ValueError as error:
        raise CliError(f'invalid value for "since" or "until": {error}') from None
    query = {
        "stdout": True,
        "stderr": True,
        "since": since,
        "until": until,
        "timestamps": values["timestamps"],
        "follow": values["follow"],
        "tail": values["tail"],
        "details": values["details"],
    }
    found = call.client.call("GET", f"/containers/{quote(name)}/json")
    conn = call.client.stream("GET", f"/containers/{found['Id']}/logs", query=query)
    if found["Config"]["Tty"]:
        for piece in conn.pieces():
            write_all(1, piece)
        return
    reader = FrameReader()
    for piece in conn.pieces():
        for stream, payload in reader.feed(piece):
            write_all(2 if stream >= STDERR else 1, payload)


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
