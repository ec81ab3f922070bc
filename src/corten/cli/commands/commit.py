"""`corten commit`."""

from __future__ import annotations

import sys

from corten.cli.command import Call, Command
from corten.cli.image_name import check_reference, full_name
from corten.cli.option import Option


def commit(call: Call) -> None:
    """Make the image and print its ID."""
    values, container = call.values, call.arguments[0]
    name = tag = ""
    if len(call.arguments) > 1:
        name, tag, _ = check_reference(call.arguments[1])
        name, tag = full_name(name), tag or "latest"
    query: dict[str, object] = {
        "container": container,
        "repo": name,
        "tag": tag,
        "comment": values["message"],
        "author": values["author"],
        "changes": values["change"],
    }
    if values["pause"] is False or values["no-pause"]:
        query["pause"] = "0"
    answer = call.client.call("POST", "/commit", query=query)
    sys.stdout.write(f"{answer['Id']}\n")


COMMAND = Command(
    "[OPTIONS] CONTAINER [REPOSITORY[:TAG]]",
    commit,
    (
        Option("-a, --author", "string", "Author of the image"),
        Option("-c, --change", "list", "Apply a Dockerfile instruction to the image"),
        Option("-m, --message", "string", "Commit message"),
        Option("--no-pause", "bool", "Let the container go on meanwhile"),
        Option("-p, --pause", "bool", "Pause the container meanwhile", default=True),
    ),
    least=1,
    most=2,
)
