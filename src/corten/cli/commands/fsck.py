"""`corten fsck`: check all that the engine has stored, and repair it. Exit status as fsck(8): 0 sound, 1 repaired,
4 problems remain."""

from __future__ import annotations

import sys

from corten.cli.command import Call, Command
from corten.cli.errors import CliError
from corten.cli.option import Option
from corten.cli.table_output import ListFormat, write_list

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from corten.cli.table_output import Column

_REPAIRED = 1
_REMAIN = 4
_COLUMNS: dict[str, Column] = {
    "Name": ("AREA", lambda item: item["Name"]),
    "Checked": ("CHECKED", lambda item: str(item["Checked"])),
    "Problems": ("PROBLEMS", lambda item: str(item["Problems"])),
    "Repaired": ("REPAIRED", lambda item: str(item["Repaired"])),
}


def fsck(call: Call) -> int:
    """Show how far the check is, what is wrong, and a line for each area."""
    headers, query = {}, {}
    if call.values["repair"]:
        from corten.cli.credentials import all_credentials, encode_auth

        query, headers = {"repair": "1"}, {"X-Registry-Config": encode_auth(all_credentials())}
    summary: list[dict[str, Any]] = []
    shown = False
    for message in call.client.messages("POST", "/corten/fsck", query=query, headers=headers):
        if message.get("Error"):
            raise CliError(message["Error"])
        shown = _progress(message, shown)
        if message.get("Finding"):
            sys.stdout.write(_line(message["Finding"]))
        summary = message.get("Summary") or summary
    table = "{{.Name}}\t{{.Checked}}\t{{.Problems}}\t{{.Repaired}}"
    write_list(summary, _COLUMNS, ListFormat("", table=table), type_name="*formatter.fsckContext")
    return _status(summary)


def _progress(message: dict[str, Any], shown: bool) -> bool:
    """A line that is written over, on a terminal only; whether one stands there."""
    if not sys.stderr.isatty():
        return False
    if message.get("Total"):
        sys.stderr.write(f"\x1b[2K\r{message['Area']}: {message.get('Done', 0) + 1} of {message['Total']}")
        sys.stderr.flush()
        return True
    if shown:
        sys.stderr.write("\x1b[2K\r")
    return False


def _line(finding: dict[str, Any]) -> str:
    note = f" ({finding['Note']})" if finding.get("Note") else ""
    return f"{finding['Area']}: {finding['Subject']} {finding['Problem']}: {finding['Outcome']}{note}\n"


def _status(summary: list[dict[str, Any]]) -> int:
    problems = sum(area["Problems"] for area in summary)
    repaired = sum(area["Repaired"] for area in summary)
    if problems > repaired:
        return _REMAIN
    return _REPAIRED if problems else 0


COMMAND = Command(
    "[OPTIONS]",
    fsck,
    (Option("--repair", "bool", "Fetch and unpack again what is damaged; drop what nobody has any more"),),
)
