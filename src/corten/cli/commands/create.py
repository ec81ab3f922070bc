"""`corten create`."""

from __future__ import annotations

import sys

from corten.cli.command import Call, Command
from corten.cli.create.body import create_body
from corten.cli.create.create import create_container
from corten.cli.create.options import CREATE_OPTIONS


def create(call: Call) -> None:
    """Create and print the ID."""
    image, *command = call.arguments
    body = create_body(call.values, image, command)
    sys.stdout.write(f"{create_container(call, body)}\n")


COMMAND = Command("[OPTIONS] IMAGE [COMMAND] [ARG...]", create, CREATE_OPTIONS, least=1, most=None, interspersed=False)
