"""`corten context`: there is one context, the engine that --host or the environment names."""

from __future__ import annotations

import sys

from corten.cli.command import Call, Command
from corten.cli.engine import chosen_host
from corten.cli.option import Option
from corten.cli.table_output import FORMAT_HELP, ListFormat, write_list

TYPE_CHECKING = False
if TYPE_CHECKING:
    from corten.cli.table_output import Column

_COLUMNS: dict[str, Column] = {
    "Name": ("NAME", lambda item: item["Name"] + (" *" if item["Table"] else "")),
    "Description": ("DESCRIPTION", lambda item: item["Description"]),
    "DockerEndpoint": ("DOCKER ENDPOINT", lambda item: item["Host"]),
    "Error": ("ERROR", lambda _: ""),
}


def _list(call: Call) -> None:
    host, _ = chosen_host({})
    values = call.values
    table = "{{.Name}}\t{{.Description}}\t{{.DockerEndpoint}}\t{{.Error}}"
    form = ListFormat(values["format"], table=table, quiet="{{.Name}}", is_quiet=values["quiet"])
    item = {"Name": "default", "Description": "The engine of this machine", "Host": host, "Table": form.is_table}
    write_list([item], _COLUMNS, form, type_name="*formatter.clientContextContext")


def _show(_: Call) -> None:
    sys.stdout.write("default\n")


LIST = Command(
    "[OPTIONS]",
    _list,
    (Option("--format", "string", FORMAT_HELP), Option("-q, --quiet", "bool", "Show names only")),
)
SHOW = Command("", _show)
