"""`corten push`."""

from __future__ import annotations

import os
import sys
from functools import partial

from corten.cli.command import Call, Command
from corten.cli.credentials import registry_auth
from corten.cli.errors import CliError
from corten.cli.image_name import canonical, check_reference, full_name, split_domain
from corten.cli.option import Option
from corten.cli.platform import platform_json
from corten.cli.progress import show_progress
from corten.client.query import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


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
    notes: list[str] = []
    on_aux = partial(_note, notes)
    if not values["quiet"]:
        show_progress(messages, sys.stdout, on_aux=on_aux)
    else:
        with open(os.devnull, "w") as nothing:
            show_progress(messages, nothing, on_aux=on_aux)
        sys.stdout.write(f"{canonical(image)}\n")
    sys.stdout.flush()
    sys.stderr.write("".join(notes))


def _note(notes: list[str], message: dict[str, Any]) -> None:
    """What is to be known of a push besides that it worked."""
    aux = message["aux"]
    if aux.get("manifestPushedInsteadOfIndex"):
        index, manifest = aux["originalIndex"]["digest"], aux["selectedManifest"]["digest"]
        notes.append(f"Not all platforms are here: instead of the index {index} its manifest {manifest} was pushed\n")


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
