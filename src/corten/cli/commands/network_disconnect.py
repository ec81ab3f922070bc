"""`corten network disconnect`."""

from __future__ import annotations

from corten.cli.command import Call, Command
from corten.cli.option import Option
from corten.client.query import quote


def network_disconnect(call: Call) -> None:
    """Disconnect a container from a network."""
    network, container = call.arguments
    body = {"Container": container, "Force": call.values["force"]}
    call.client.call("POST", f"/networks/{quote(network)}/disconnect", body=body)


COMMAND = Command(
    "[OPTIONS] NETWORK CONTAINER",
    network_disconnect,
    (Option("-f, --force", "bool", "Disconnect even if the container does not answer"),),
    least=2,
    most=2,
)
