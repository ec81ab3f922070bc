"""`corten import`."""

from __future__ import annotations

import os
import sys

from corten.cli.command import Call, Command
from corten.cli.commands.load import read_pieces
from corten.cli.errors import CliError
from corten.cli.image_name import check_reference
from corten.cli.option import Option
from corten.cli.progress import show_progress


def import_image(call: Call) -> None:
    """Make an image of an archive: a file, a URL, or `-` for standard input."""
    values, source = call.values, call.arguments[0]
    reference = call.arguments[1] if len(call.arguments) > 1 else ""
    query = {
        "fromSrc": source if source.startswith(("http://", "https://")) else "-",
        "repo": reference,
        "message": values["message"],
        "changes": values["change"],
        "platform": values["platform"] or os.environ.get("DOCKER_DEFAULT_PLATFORM", ""),
    }
    data = None
    if source == "-":
        data = read_pieces(0)
    elif query["fromSrc"] == "-":
        try:
            data = read_pieces(os.open(source, os.O_RDONLY | os.O_CLOEXEC))
        except OSError as error:
            raise CliError(f"open {source}: {(error.strerror or '').lower()}") from None
    if reference:
        check_reference(reference)
    headers = {"Content-Type": "text/plain"}
    show_progress(call.client.messages("POST", "/images/create", query=query, data=data, headers=headers), sys.stdout)


COMMAND = Command(
    "[OPTIONS] file|URL|- [REPOSITORY[:TAG]]",
    import_image,
    (
        Option("-c, --change", "list", "Apply a Dockerfile instruction to the image"),
        Option("-m, --message", "string", "Set the commit message"),
        Option("--platform", "string", "Set the platform"),
    ),
    least=1,
    most=None,
)
