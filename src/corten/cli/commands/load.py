"""`corten load`."""

from __future__ import annotations

import os
import sys

from corten.cli.command import Call, Command
from corten.cli.errors import CliError
from corten.cli.option import Option
from corten.cli.platform import platform_json
from corten.cli.progress import show_progress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_CHUNK = 1 << 20


def load(call: Call) -> None:
    """Send the archive and show what came of it."""
    values = call.values
    path = values["input"]
    if path:
        try:
            source = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise CliError(f"open {path}: {(error.strerror or '').lower()}") from None
    elif os.isatty(0):
        raise CliError("requested load from stdin, but stdin is empty")
    else:
        source = 0
    quiet = values["quiet"] or not sys.stdout.isatty()
    query: dict[str, object] = {"quiet": "1" if quiet else "0"}
    query["platform"] = [platform_json(text) for text in values["platform"]]
    headers = {"Content-Type": "application/x-tar"}
    show_progress(
        call.client.messages("POST", "/images/load", query=query, data=read_pieces(source), headers=headers), sys.stdout
    )


def read_pieces(descriptor: int) -> Iterator[bytes]:
    """The content of a file or of standard input."""
    while data := os.read(descriptor, _CHUNK):
        yield data


COMMAND = Command(
    "[OPTIONS]",
    load,
    (
        Option("-i, --input", "string", "Read this tar archive instead of standard input"),
        Option("--platform", "strings", "Load only these platforms of the images"),
        Option("-q, --quiet", "bool", "Show no progress"),
    ),
)
