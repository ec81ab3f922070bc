"""`corten save`."""

from __future__ import annotations

from corten.cli.command import Call, Command
from corten.cli.option import Option
from corten.cli.output_file import check_output, write_stream
from corten.cli.platform import platform_json


def save(call: Call) -> None:
    """Write the archive to a file or to standard output."""
    values = call.values
    check_output(values["output"], "save image")
    query = {"names": call.arguments, "platform": [platform_json(text) for text in values["platform"]]}
    conn = call.client.stream("GET", "/images/get", query=query)
    write_stream(conn.pieces(), values["output"], "save image")


COMMAND = Command(
    "[OPTIONS] IMAGE [IMAGE...]",
    save,
    (
        Option("-o, --output", "string", "Write to this file instead of standard output"),
        Option("--platform", "strings", "Save only these platforms of the images"),
    ),
    least=1,
    most=None,
)
