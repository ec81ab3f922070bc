"""`corten service ls`: services, and who serves them."""

from __future__ import annotations

from corten.cli.command import Call, Command
from corten.cli.filters import encode_filters
from corten.cli.option import Option
from corten.cli.shortening import short_id
from corten.cli.table_output import FORMAT_HELP, ListFormat, write_list

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from corten.cli.table_output import Column


def _columns(*, full: bool) -> dict[str, Column]:
    return {
        "ID": ("ID", lambda item: item["ID"] if full else short_id(item["ID"])),
        "Name": ("NAME", lambda item: item["Name"]),
        "Network": ("NETWORK", lambda item: item["Network"]),
        "Addresses": ("ADDRESS", lambda item: ", ".join(item["Addresses"]) or "-"),
        "Balance": ("BALANCE", lambda item: item["Balance"]),
        "Members": ("MEMBERS", _members),
        "Ports": ("PORTS", lambda item: ", ".join(map(_port, item["Ports"]))),
        "Connections": ("CONNECTIONS", lambda item: str(item["Connections"])),
    }


def _members(item: dict[str, Any]) -> str:
    """`2/3`: so many serve of those that run; and what the others do."""
    states = [member["State"] for member in item["Members"]]
    others = [f"{states.count(state)} {state}" for state in sorted(set(states) - {"serving"})]
    return f"{states.count('serving')}/{len(states)}" + (f" ({', '.join(others)})" if others else "")


def _port(port: dict[str, Any]) -> str:
    address = f"[{port['HostIP']}]" if ":" in port["HostIP"] else port["HostIP"]
    return f"{address}:{port['PublishedPort']}->{port['TargetPort']}/{port['Protocol']}"


def service_ls(call: Call) -> None:
    """Ask and print, in the order of networks and names."""
    values = call.values
    table = "{{.ID}}\t{{.Name}}\t{{.Network}}\t{{.Addresses}}\t{{.Balance}}\t{{.Members}}\t{{.Connections}}\t{{.Ports}}"
    form = ListFormat(values["format"], table=table, quiet="{{.ID}}", is_quiet=values["quiet"])
    items = call.client.call("GET", "/corten/services", query={"filters": encode_filters(values["filter"])}) or []
    write_list(items, _columns(full=values["no-trunc"]), form, type_name="serviceContext")


COMMAND = Command(
    "[OPTIONS]",
    service_ls,
    (
        Option("-f, --filter", "filter", "Show only what matches: id, name or network"),
        Option("--format", "string", FORMAT_HELP),
        Option("--no-trunc", "bool", "Show long texts uncut"),
        Option("-q, --quiet", "bool", "Show IDs only"),
    ),
)
