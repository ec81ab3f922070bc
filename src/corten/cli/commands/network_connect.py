"""`corten network connect`."""

from __future__ import annotations

from corten.cli.command import Call, Command
from corten.cli.create.values import ip_address, link
from corten.cli.option import Option
from corten.client.query import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def network_connect(call: Call) -> None:
    """Connect a container to a network."""
    network, container = call.arguments
    values = call.values
    ipam = {"IPv4Address": values["ip"], "IPv6Address": values["ip6"], "LinkLocalIPs": values["link-local-ip"]}
    endpoint: dict[str, Any] = {
        "IPAMConfig": {field: value for field, value in ipam.items() if value},
        "Links": values["link"],
        "Aliases": values["alias"],
        "DriverOpts": dict(text.partition("=")[::2] for text in values["driver-opt"]),
        "GwPriority": values["gw-priority"],
    }
    body = {"Container": container, "EndpointConfig": {field: value for field, value in endpoint.items() if value}}
    call.client.call("POST", f"/networks/{quote(network)}/connect", body=body)


COMMAND = Command(
    "[OPTIONS] NETWORK CONTAINER",
    network_connect,
    (
        Option("--alias", "strings", "Names on the network"),
        Option("--driver-opt", "strings", "Options of the driver"),
        Option("--gw-priority", "int", "Highest number: the default gateway is on this network"),
        Option("--ip", "string", "IPv4 address (e.g., 172.30.100.104)"),
        Option("--ip6", "string", "IPv6 address (e.g., 2001:db8::33)"),
        Option("--link", "list", "Link to another container", parse=link),
        Option("--link-local-ip", "list", "Link-local addresses", parse=ip_address),
    ),
    least=2,
    most=2,
)
