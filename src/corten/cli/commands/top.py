"""`corten top`."""

from __future__ import annotations

import sys

from corten.cli.command import Call, Command
from corten.cli.table_output import align
from corten.client.query import quote

_MIN_WIDTH = 20
_PADDING = 3


def top(call: Call) -> None:
    """Print the processes as a table; arguments after the container's name are ps(1)'s."""
    name, *arguments = call.arguments
    answer = call.client.call("GET", f"/containers/{quote(name)}/top", query={"ps_args": " ".join(arguments)})
    rows = [answer["Titles"], *(answer.get("Processes") or [])]
    lines = ["\t".join(row) for row in rows]
    sys.stdout.write("".join(f"{line}\n" for line in align(lines, min_width=_MIN_WIDTH, padding=_PADDING)))


COMMAND = Command("CONTAINER [ps OPTIONS]", top, least=1, most=None, interspersed=False)
