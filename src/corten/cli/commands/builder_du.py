"""`corten builder du`: the records of the build cache, as `docker buildx du` shows them."""

from __future__ import annotations

import json
import sys

from corten.cli.command import Call, Command
from corten.cli.errors import CliError
from corten.cli.human_size import human_size
from corten.cli.human_time import ago, go_time, parse_rfc3339
from corten.cli.option import Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_HEAD = "ID\t\t\t\t\t\tRECLAIMABLE\tSIZE\t\tLAST ACCESSED\n"
_SHOWN = 25  # characters of an id, as many as BuildKit's have
_FIELDS = {"id": "ID", "type": "Type", "description": "Description"}
_FLAGS = {"inuse": ("InUse", True), "shared": ("Shared", True), "private": ("Shared", False)}
_FORMATS = ("", "table", "pretty", "json")


def builder_du(call: Call) -> None:
    """Ask for the records, and print a line of each, or with --verbose all of each."""
    values = call.values
    form = "pretty" if values["verbose"] else values["format"]
    if form not in _FORMATS:
        raise CliError(f"the format {form!r} is not supported: it may be table, pretty or json")
    answer = call.client.call("GET", "/system/df", query={"type": "build-cache"})
    records = [record for record in answer.get("BuildCache") or [] if _matches(record, values["filter"])]
    records.sort(key=lambda record: -int(record.get("Size") or 0))
    if form == "json":
        sys.stdout.write("".join(f"{json.dumps(record, separators=(',', ':'))}\n" for record in records))
        return
    if form == "pretty":
        sys.stdout.write("".join(f"{_details(record)}\n" for record in records))
    elif records:
        sys.stdout.write(_HEAD + "".join(_line(record) for record in records))
    sys.stdout.write(_totals(records))


def _matches(record: dict[str, Any], filters: list[tuple[str, str]]) -> bool:
    """Whether a record passes all filters. Raises CliError for one that is not known."""
    for name, value in filters:
        if name in _FLAGS:
            field, wanted = _FLAGS[name]
            if bool(record.get(field)) is not (wanted == (value.lower() not in ("false", "0"))):
                return False
        elif name in _FIELDS:
            found = str(record.get(_FIELDS[name]) or "")
            if found != value and not (name == "id" and value and found.startswith(value)):
                return False
        else:
            raise CliError(f"the filter {name!r} is not supported: {', '.join([*_FIELDS, *_FLAGS])} are")
    return True


def _size(record: dict[str, Any]) -> str:
    return human_size(record.get("Size") or 0) + ("*" if record.get("Shared") else "")


def _last_used(record: dict[str, Any]) -> str:
    text = record.get("LastUsedAt")
    return ago(parse_rfc3339(text)[0]) if text else ""


def _line(record: dict[str, Any]) -> str:
    reclaimable = "false" if record.get("InUse") else "true"
    return f"{record['ID'][:_SHOWN]:<40}\t{reclaimable:<5}\t\t{_size(record):<10}\t{_last_used(record)}\n"


def _details(record: dict[str, Any]) -> str:
    parents = record.get("Parents") or []
    created = record.get("CreatedAt")
    rows = [
        ("ID:", record["ID"]),
        ("Parent:" if len(parents) == 1 else "Parents:", ",".join(parents)),
        ("Created at:", go_time(parse_rfc3339(created)[0]) if created else ""),
        ("Mutable:", "false"),
        ("Reclaimable:", "false" if record.get("InUse") else "true"),
        ("Shared:", "true" if record.get("Shared") else "false"),
        ("Size:", human_size(record.get("Size") or 0)),
        ("Description:", record.get("Description") or ""),
        ("Usage count:", str(record.get("UsageCount") or 0)),
        ("Last used:", _last_used(record)),
        ("Type:", record.get("Type") or ""),
    ]
    return "".join(f"{name}{_tabs(name)}{value}\n" for name, value in rows if value)


def _tabs(name: str) -> str:
    return "\t" * (2 - len(name) // 8)


def _totals(records: list[dict[str, Any]]) -> str:
    shared = sum(int(record.get("Size") or 0) for record in records if record.get("Shared"))
    total = sum(int(record.get("Size") or 0) for record in records)
    used = sum(int(record.get("Size") or 0) for record in records if record.get("InUse"))
    rows = [("Shared:", shared), ("Private:", total - shared)] if shared else []
    rows += [("Reclaimable:", total - used), ("Total:", total)]
    return "".join(f"{name}{_tabs(name)}{human_size(size)}\n" for name, size in rows)


COMMAND = Command(
    "[OPTIONS]",
    builder_du,
    (
        Option("--builder", "string", "The builder: there is one, called default", hidden=True),
        Option("--filter", "filter", 'Only what matches (e.g., "type=regular", "shared=false")'),
        Option("--format", "string", "How it is printed: table, pretty or json"),
        Option("--verbose", "bool", "As --format=pretty: all that is known of each record"),
    ),
)
