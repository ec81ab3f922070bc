"""`corten push`."""

from __future__ import annotations

import os
import sys

from corten.cli.command import Call, Command
from corten.cli.credentials import registry_auth
from corten.cli.errors import CliError
from corten.cli.image_name import canonical, check_reference, full_name, split_domain
from corten.cli.option import Option
from corten.cli.platform import platform_json
from corten.cli.progress import show_progress
from corten.client.query import quote


def push(call: Call) -> None:
    """Upload; with --quiet only the name is printed at the end."""
    values, image = call.values, call.arguments[0]
    name, tag, digest = check_reference(image)
    if values["all-tags"] and (tag or digest):
        raise CliError("tag can't be used with --all-tags/-a")
    if digest:
        raise CliError("cannot push a digest reference")
    if not tag and not values["all-tags"]:
        tag = "latest"
        if not values["quiet"]:
            sys.stdout.write("Using default tag: latest\n")
    query = {"tag": tag, "platform": platform_json(values["platform"])}
    headers = {"X-Registry-Auth": registry_auth(split_domain(name)[0])}
    path = f"/images/{quote(full_name(name), '/:')}/push"
    messages = call.client.messages("POST", path, query=query, headers=headers)
    if not values["quiet"]:
        show_progress(messages, sys.stdout)
        return
    with open(os.devnull, "w") as nothing:
        show_progress(messages, nothing)
    sys.stdout.write(f"{canonical(image)}\n")


COMMAND = Command(
    "[OPTIONS] NAME[:TAG]",
    push,
    (
        Option("-a, --all-tags", "bool", "Upload all tags of the repository"),
        Option("--disable-content-trust", "bool", "Accepted and ignored", default=True, hidden=True),
        Option("--platform", "string", "Upload only this platform"),
        Option("-q, --quiet", "bool", "Show no progress"),
    ),
    least=1,
    most=1,
)
