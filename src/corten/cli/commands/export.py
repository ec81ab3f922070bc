"""`corten export`."""

from __future__ import annotations

from corten.cli.command import Call, Command
from corten.cli.option import Option
from corten.cli.output_file import check_output, write_stream
from corten.client.query import quote


def export(call: Call) -> None:
    """Write the archive to a file or to standard output."""
    check_output(call.values["output"], "export container")
    conn = call.client.stream("GET", f"/containers/{quote(call.arguments[0])}/export")
    write_stream(conn.pieces(), call.values["output"], "export container")


COMMAND = Command(
    "[OPTIONS] CONTAINER",
    export,
    (Option("-o, --output", "string", "Write to this file instead of standard output"),),
    least=1,
    most=1,
)
