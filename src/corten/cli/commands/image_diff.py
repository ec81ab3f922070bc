"""`corten image diff`: what two images differ in: layers, configuration, files."""

from __future__ import annotations

import sys

from corten.cli.command import Call, Command
from corten.cli.human_size import human_size
from corten.cli.json_output import wants_json, write_json
from corten.cli.option import Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


def diff(call: Call) -> None:
    """Ask and print."""
    old, new = call.arguments
    as_json = wants_json(call.values["format"])
    answer = call.client.call("GET", "/corten/images/diff", query={"old": old, "new": new})
    if not call.values["times"]:
        answer["Files"] = [item for item in answer["Files"] if item.get("What") != ["time"]]
    if as_json:
        write_json(answer)
        return
    sys.stdout.write("".join(f"{line}\n" for line in _lines(answer)))


def _lines(answer: dict[str, Any]) -> Iterator[str]:
    for mark, side in (("-", answer["Old"]), ("+", answer["New"])):
        own = side["Layers"] - answer["SharedLayers"]
        shared = f"{answer['SharedLayers']} shared layer{'s' * (answer['SharedLayers'] != 1)}"
        yield f"{mark} {side['Name']}  {human_size(side['Size'])}  {shared} and {own} of its own"
    if answer["Config"]:
        yield "\nConfiguration:"
        for change in answer["Config"]:
            yield f"  {change['Field']}: {_value(change['Old'])} -> {_value(change['New'])}"
    if answer["Files"]:
        yield "\nFiles:"
        yield from (_file(item) for item in answer["Files"])
        yield f"\n{_sum(answer['Files'])}"
    if answer.get("Cut"):
        yield "There are more files that differ than are listed."
    if not answer["Config"] and not answer["Files"]:
        yield "\nNo difference in files and configuration."


def _value(value: Any) -> str:
    from corten.cli.template.printing import go_json

    return "none" if value is None else go_json(value)


def _file(item: dict[str, Any]) -> str:
    line = f"{item['Kind']} {item['Path']}"
    old, new = item.get("OldSize", 0), item.get("NewSize", 0)
    if item["Kind"] == "C":
        sizes = f"{human_size(old)} -> {human_size(new)}, " if old != new else ""
        return f"{line}  ({sizes}{', '.join(item.get('What') or [])})"
    return f"{line}  ({human_size(old or new)})" if old or new else line


def _sum(items: list[dict[str, Any]]) -> str:
    counts = {kind: sum(item["Kind"] == kind for item in items) for kind in "ACD"}
    grown = sum(item.get("NewSize", 0) - item.get("OldSize", 0) for item in items)
    sign = "-" if grown < 0 else "+"
    return f"{counts['A']} added, {counts['C']} changed, {counts['D']} deleted, {sign}{human_size(abs(grown))}"


COMMAND = Command(
    "[OPTIONS] OLD NEW",
    diff,
    (
        Option("--format", "string", "Format the output: 'json'"),
        Option("--times", "bool", "List files too whose time alone differs"),
    ),
    least=2,
    most=2,
)
