"""`corten search`."""

from __future__ import annotations

from corten.cli.command import Call, Command
from corten.cli.credentials import registry_auth
from corten.cli.filters import encode_filters
from corten.cli.image_name import split_domain
from corten.cli.option import Option
from corten.cli.shortening import ellipsis
from corten.cli.table_output import FORMAT_HELP, ListFormat, write_list

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from corten.cli.table_output import Column

_DESCRIPTION_WIDTH = 45


def _description(item: dict[str, Any], full: bool) -> str:
    text = (item.get("description") or "").replace("\n", " ").replace("\r", " ")
    return text if full else ellipsis(text, _DESCRIPTION_WIDTH)


def _columns(*, full: bool) -> dict[str, Column]:
    return {
        "Name": ("NAME", lambda item: item["name"]),
        "Description": ("DESCRIPTION", lambda item: _description(item, full)),
        "StarCount": ("STARS", lambda item: str(item.get("star_count", 0))),
        "IsOfficial": ("OFFICIAL", lambda item: "[OK]" if item.get("is_official") else ""),
        "IsAutomated": ("AUTOMATED", lambda item: "[OK]" if item.get("is_automated") else ""),
    }


def search(call: Call) -> None:
    """Ask and print."""
    values, term = call.values, call.arguments[0]
    query = {"term": term, "limit": values["limit"] or None, "filters": encode_filters(values["filter"])}
    headers = {"X-Registry-Auth": registry_auth(split_domain(term)[0])}
    items = call.client.call("GET", "/images/search", query=query, headers=headers) or []
    items.sort(key=lambda item: -item.get("star_count", 0))
    form = ListFormat(values["format"], table="{{.Name}}\t{{.Description}}\t{{.StarCount}}\t{{.IsOfficial}}")
    write_list(items, _columns(full=values["no-trunc"]), form, type_name="*registry.searchContext")


COMMAND = Command(
    "[OPTIONS] TERM",
    search,
    (
        Option("-f, --filter", "filter", "Show only what matches"),
        Option("--format", "string", FORMAT_HELP),
        Option("--limit", "int", "Most results to show"),
        Option("--no-trunc", "bool", "Show long texts uncut"),
    ),
    least=1,
    most=1,
)
