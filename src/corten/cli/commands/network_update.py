"""`corten network update`: Corten's own."""

from __future__ import annotations

import sys

from corten.cli.command import Call, Command
from corten.cli.errors import CliError
from corten.cli.option import Option
from corten.client.query import quote


def network_update(call: Call) -> None:
    """Change the peers and print the name."""
    body = {"Add": call.values["peer-add"], "Remove": call.values["peer-rm"]}
    if not body["Add"] and not body["Remove"]:
        raise CliError("you must provide --peer-add or --peer-rm")
    name = call.arguments[0]
    call.client.call("POST", f"/corten/networks/{quote(name)}/peers", body=body)
    sys.stdout.write(f"{name}\n")


COMMAND = Command(
    "[OPTIONS] NETWORK",
    network_update,
    (
        Option("--peer-add", "strings", "Address of a host that the vxlan network reaches from now on"),
        Option("--peer-rm", "strings", "Address of a host that it reaches no longer"),
    ),
    least=1,
    most=1,
)
