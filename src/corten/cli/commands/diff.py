"""`corten diff`."""

from __future__ import annotations

import sys

from corten.cli.command import Call, Command
from corten.client.query import quote

_KINDS = "CAD"  # changed, added, deleted: 0, 1, 2


def diff(call: Call) -> None:
    """Print a line for each changed path."""
    changes = call.client.call("GET", f"/containers/{quote(call.arguments[0])}/changes") or []
    sys.stdout.write("".join(f"{_KINDS[change['Kind']]} {change['Path']}\n" for change in changes))


COMMAND = Command("CONTAINER", diff, least=1, most=1)
