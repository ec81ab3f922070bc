"""`corten image mount` and `corten image unmount`: an image's files as a read-only directory."""

from __future__ import annotations

import os
import sys

from corten.cli.command import Call, Command
from corten.cli.each import for_each
from corten.cli.option import Option
from corten.cli.shortening import short_id
from corten.cli.table_output import FORMAT_HELP, ListFormat, write_list
from corten.client.query import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from corten.cli.table_output import Column


def _columns(*, full: bool) -> dict[str, Column]:
    return {
        "Image": ("IMAGE", lambda item: item["Image"]),
        "ID": ("IMAGE ID", lambda item: item["ImageID"] if full else short_id(item["ImageID"])),
        "Target": ("DIRECTORY", lambda item: item["Target"]),
    }


def mount(call: Call) -> None:
    """Mount and print the directory; without an image list what is mounted."""
    values = call.values
    if not call.arguments:
        items: list[dict[str, Any]] = call.client.call("GET", "/corten/images/mounts") or []
        form = ListFormat(values["format"], table="{{.Image}}\t{{.ID}}\t{{.Target}}")
        write_list(items, _columns(full=values["no-trunc"]), form, type_name="mountContext")
        return
    name, *rest = call.arguments
    body = {"Target": os.path.abspath(rest[0]) if rest else ""}
    answer = call.client.call("POST", f"/corten/images/{quote(name, '/:@')}/mount", body=body)
    sys.stdout.write(f"{answer['Target']}\n")


def _looks_like_directory(text: str) -> bool:
    return text in (".", "..") or text.startswith(("/", "./", "../"))


def unmount(call: Call) -> None:
    """Unmount each directory, or each image wherever it is mounted."""

    def one(text: str) -> str:
        target = os.path.abspath(text) if _looks_like_directory(text) else text
        body = {"Target": target, "Force": bool(call.values["force"])}
        done = call.client.call("POST", "/corten/images/unmount", body=body)
        return "\n".join(item["Target"] for item in done)

    for_each(call.arguments, one)


COMMAND = Command(
    "[OPTIONS] [IMAGE [DIRECTORY]]",
    mount,
    (
        Option("--format", "string", FORMAT_HELP),
        Option("--no-trunc", "bool", "Show long texts uncut"),
    ),
    most=2,
)
UNMOUNT = Command(
    "[OPTIONS] DIRECTORY|IMAGE [DIRECTORY|IMAGE...]",
    unmount,
    (Option("-f, --force", "bool", "Take it from those who still use it"),),
    least=1,
    most=None,
)
