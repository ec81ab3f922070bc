"""`corten rmi`."""

from __future__ import annotations

import sys

from corten.cli.command import Call, Command
from corten.cli.errors import ExitStatus
from corten.cli.option import Option
from corten.cli.platform import platform_json
from corten.client.errors import ApiError
from corten.client.query import quote


def rmi(call: Call) -> None:
    """Remove each image; with --force a missing one is no failure."""
    values = call.values
    query: dict[str, object] = {"force": values["force"]}
    if values["no-prune"]:
        query["noprune"] = "1"
    query["platforms"] = [platform_json(text) for text in values["platform"]]
    failed = False
    for name in call.arguments:
        try:
            answer = call.client.call("DELETE", f"/images/{quote(name, '/:@')}", query=query)
        except ApiError as error:
            sys.stdout.flush()
            sys.stderr.write(f"Error response from daemon: {error.message}\n")
            failed = failed or not (values["force"] and error.status == 404)
            continue
        for item in answer or []:
            line = f"Deleted: {item['Deleted']}" if item.get("Deleted") else f"Untagged: {item.get('Untagged', '')}"
            sys.stdout.write(f"{line}\n")
    if failed:
        raise ExitStatus(1)


COMMAND = Command(
    "[OPTIONS] IMAGE [IMAGE...]",
    rmi,
    (
        Option("-f, --force", "bool", "Remove it although it is used"),
        Option("--no-prune", "bool", "Keep parents without a name"),
        Option("--platform", "strings", "Remove only these platforms of the image"),
    ),
    least=1,
    most=None,
)
