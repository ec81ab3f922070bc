"""`corten volume ls`."""

from __future__ import annotations

from corten.cli.command import Call, Command
from corten.cli.commands.ps import labels_text
from corten.cli.filters import encode_filters
from corten.cli.human_size import human_size
from corten.cli.option import Option
from corten.cli.table_output import FORMAT_HELP, ListFormat, write_list

TYPE_CHECKING = False
if TYPE_CHECKING:
    from corten.cli.table_output import Column

COLUMNS: dict[str, Column] = {
    "Name": ("VOLUME NAME", lambda item: item["Name"]),
    "Driver": ("DRIVER", lambda item: item["Driver"]),
    "Scope": ("SCOPE", lambda item: item.get("Scope", "")),
    "Mountpoint": ("MOUNTPOINT", lambda item: item.get("Mountpoint", "")),
    "Labels": ("LABELS", lambda item: labels_text(item.get("Labels"))),
    "Links": ("LINKS", lambda item: str(item["UsageData"]["RefCount"]) if item.get("UsageData") else "N/A"),
    "Size": ("SIZE", lambda item: human_size(item["UsageData"]["Size"]) if item.get("UsageData") else "N/A"),
    "Status": ("STATUS", lambda _: "N/A"),
    "Availability": ("AVAILABILITY", lambda _: "N/A"),
    "Group": ("GROUP", lambda _: "N/A"),
}


def volume_ls(call: Call) -> None:
    """Ask and print, in the order of names."""
    values = call.values
    form = ListFormat(values["format"], table="{{.Driver}}\t{{.Name}}", quiet="{{.Name}}", is_quiet=values["quiet"])
    answer = call.client.call("GET", "/volumes", query={"filters": encode_filters(values["filter"])})
    items = sorted(answer.get("Volumes") or [], key=lambda item: str(item["Name"]))
    write_list(items, COLUMNS, form, type_name="*formatter.volumeContext")


COMMAND = Command(
    "[OPTIONS]",
    volume_ls,
    (
        Option("-f, --filter", "filter", "Show only what matches"),
        Option("--format", "string", FORMAT_HELP),
        Option("-q, --quiet", "bool", "Show names only"),
    ),
)
