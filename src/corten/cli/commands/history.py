"""`corten history`."""

from __future__ import annotations

from corten.cli.command import Call, Command
from corten.cli.human_size import human_size
from corten.cli.human_time import ago, rfc3339_local
from corten.cli.option import Option
from corten.cli.platform import platform_json
from corten.cli.shortening import ellipsis, short_id
from corten.cli.table_output import FORMAT_HELP, ListFormat, write_list
from corten.client.query import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from corten.cli.table_output import Column

_CREATED_BY_WIDTH = 45


def _created_by(item: dict[str, Any], full: bool) -> str:
    text: str = (item.get("CreatedBy") or "").replace("\t", " ")
    return text if full else ellipsis(text, _CREATED_BY_WIDTH)


def _columns(*, human: bool, full: bool) -> dict[str, Column]:
    return {
        "ID": ("IMAGE", lambda item: item["Id"] if full else short_id(item["Id"])),
        "CreatedAt": ("CREATED AT", lambda item: rfc3339_local(item["Created"])),
        "CreatedSince": (
            "CREATED" if human else "CREATED AT",
            lambda item: ago(item["Created"]) if human else rfc3339_local(item["Created"]),
        ),
        "CreatedBy": ("CREATED BY", lambda item: _created_by(item, full)),
        "Size": ("SIZE", lambda item: human_size(item["Size"]) if human else str(item["Size"])),
        "Comment": ("COMMENT", lambda item: item.get("Comment") or ""),
    }


def history(call: Call) -> None:
    """Print the steps, the newest first."""
    values = call.values
    table = "{{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}"
    form = ListFormat(values["format"], table=table, quiet="{{.ID}}", is_quiet=values["quiet"])
    query = {"platform": platform_json(values["platform"])}
    items = call.client.call("GET", f"/images/{quote(call.arguments[0], '/:@')}/history", query=query) or []
    columns = _columns(human=values["human"], full=values["no-trunc"])
    write_list(items, columns, form, type_name="*image.historyContext")


COMMAND = Command(
    "[OPTIONS] IMAGE",
    history,
    (
        Option("--format", "string", FORMAT_HELP),
        Option("-H, --human", "bool", "Sizes and dates for people", default=True),
        Option("--no-trunc", "bool", "Show long texts uncut"),
        Option("--platform", "string", "Show the history of this platform"),
        Option("-q, --quiet", "bool", "Show IDs only"),
    ),
    least=1,
    most=1,
)
