"""`corten network create`."""

from __future__ import annotations

import sys

from corten.cli.command import Call, Command
from corten.cli.create.env_files import label
from corten.cli.errors import CliError
from corten.cli.option import Option, Values

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def network_create(call: Call) -> None:
    """Create and print the ID."""
    values = call.values
    body: dict[str, Any] = {
        "Name": call.arguments[0],
        "Driver": values["driver"],
        "Options": dict(values["opt"]) | ({"corten.egress": ",".join(values["egress"])} if values["egress"] else {}),
        "IPAM": {
            "Driver": values["ipam-driver"],
            "Options": dict(values["ipam-opt"]),
            "Config": ipam_config(values),
        },
        "Internal": values["internal"],
        "Ingress": values["ingress"],
        "Attachable": values["attachable"],
        "ConfigOnly": values["config-only"],
        "Scope": values["scope"],
        "Labels": {key: value for key, _, value in (text.partition("=") for text in values["label"])},
    }
    if values["config-from"]:
        body["ConfigFrom"] = {"Network": values["config-from"]}
    for name, field in (("ipv4", "EnableIPv4"), ("ipv6", "EnableIPv6")):
        if values.given(name):
            body[field] = values[name]
    answer = call.client.call("POST", "/networks/create", body=body)
    if answer.get("Warning"):
        sys.stderr.write(f"{answer['Warning']}\n")
    sys.stdout.write(f"{answer['Id']}\n")


def ipam_config(values: Values) -> list[dict[str, Any]]:  # noqa: C901 - checks, one after the other
    """One record a subnet, with those ranges, gateways and addresses that lie in it. Raises CliError."""
    if not any(values[name] for name in ("subnet", "ip-range", "gateway", "aux-address")):
        return []  # and three milliseconds less for an import
    import ipaddress

    subnets = values["subnet"]
    if len(subnets) < len(values["ip-range"]) or len(subnets) < len(values["gateway"]):
        raise CliError("every ip-range or gateway must have a corresponding subnet")
    found: dict[str, dict[str, Any]] = {}
    networks: dict[str, Any] = {}
    for text in subnets:
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise CliError(f"invalid CIDR address: {text}") from None
        for other in networks.values():
            if other.version == network.version and other.overlaps(network):
                raise CliError("multiple overlapping subnet configuration is not supported")
        networks[text] = network
        found[text] = {"Subnet": text}
    pieces = [("ip-range", "IPRange", text, text) for text in values["ip-range"]]
    pieces += [("gateway", "Gateway", text, text) for text in values["gateway"]]
    pieces += [("aux-address", name, text, text) for name, text in values["aux-address"]]
    for option, field, text, shown in pieces:
        try:
            address = ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise CliError(f"invalid {option}: {shown}") from None
        home = next(
            (key for key, net in networks.items() if net.version == address.version and address.subnet_of(net)),
            None,
        )
        if home is None:
            raise CliError(f"no matching subnet for {option} {shown}")
        record = found[home]
        if option == "aux-address":
            record.setdefault("AuxiliaryAddresses", {})[field] = text
        elif field in record:
            what = "ranges" if option == "ip-range" else "gateways"
            raise CliError(f"cannot configure multiple {what} ({text}, {record[field]}) on the same subnet ({home})")
        else:
            record[field] = text
    return list(found.values())


COMMAND = Command(
    "[OPTIONS] NETWORK",
    network_create,
    (
        Option("--attachable", "bool", "Containers may be connected by hand"),
        Option("--aux-address", "map", "Addresses that the driver uses itself", shown="map[]"),
        Option("--config-from", "string", "Take the configuration from this network"),
        Option("--config-only", "bool", "Create a configuration only"),
        Option("-d, --driver", "string", "Driver of the network", default="bridge"),
        Option("--egress", "strings", "What containers may reach by this network: names, address ranges, with :ports"),
        Option("--gateway", "strings", "Gateway of a subnet"),
        Option("--ingress", "bool", "Create the routing mesh of a swarm"),
        Option("--internal", "bool", "No way to the outside"),
        Option("--ip-range", "strings", "Part of a subnet that containers get addresses from"),
        Option("--ipam-driver", "string", "Driver of address management", default="default"),
        Option("--ipam-opt", "map", "Set options of address management", shown="map[]"),
        Option("--ipv4", "bool", "Give IPv4 addresses", default=True),
        Option("--ipv6", "bool", "Give IPv6 addresses"),
        Option("--label", "list", "Set metadata", parse=label),
        Option("-o, --opt", "map", "Set options of the driver", shown="map[]"),
        Option("--scope", "string", "Scope of the network"),
        Option("--subnet", "strings", "Subnet in CIDR form"),
    ),
    least=1,
    most=1,
)
