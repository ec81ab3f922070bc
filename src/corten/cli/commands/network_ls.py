"""`corten network ls`."""

from __future__ import annotations

from corten.cli.command import Call, Command
from corten.cli.commands.ps import labels_text
from corten.cli.filters import encode_filters
from corten.cli.human_time import go_time_nanoseconds
from corten.cli.option import Option
from corten.cli.shortening import short_id
from corten.cli.table_output import FORMAT_HELP, ListFormat, write_list

TYPE_CHECKING = False
if TYPE_CHECKING:
    from corten.cli.table_output import Column


def _columns(*, full: bool) -> dict[str, Column]:
    return {
        "ID": ("NETWORK ID", lambda item: item["Id"] if full else short_id(item["Id"])),
        "Name": ("NAME", lambda item: item["Name"]),
        "Driver": ("DRIVER", lambda item: item["Driver"]),
        "Scope": ("SCOPE", lambda item: item["Scope"]),
        "IPv4": ("IPV4", lambda item: str(item.get("EnableIPv4", True)).lower()),
        "IPv6": ("IPV6", lambda item: str(item.get("EnableIPv6", False)).lower()),
        "Internal": ("INTERNAL", lambda item: str(item.get("Internal", False)).lower()),
        "Labels": ("LABELS", lambda item: labels_text(item.get("Labels"))),
        "CreatedAt": ("CREATED AT", lambda item: go_time_nanoseconds(item["Created"])),
    }


def network_ls(call: Call) -> None:
    """Ask and print, in the order of names."""
    values = call.values
    table = "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}"
    form = ListFormat(values["format"], table=table, quiet="{{.ID}}", is_quiet=values["quiet"])
    items = call.client.call("GET", "/networks", query={"filters": encode_filters(values["filter"])}) or []
    items.sort(key=lambda item: item["Name"])
    write_list(items, _columns(full=values["no-trunc"]), form, type_name="*network.networkContext")


COMMAND = Command(
    "[OPTIONS]",
    network_ls,
    (
        Option("-f, --filter", "filter", "Show only what matches"),
        Option("--format", "string", FORMAT_HELP),
        Option("--no-trunc", "bool", "Show long texts uncut"),
        Option("-q, --quiet", "bool", "Show IDs only"),
    ),
)
