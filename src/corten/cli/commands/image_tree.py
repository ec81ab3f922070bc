"""`corten image tree`: the documents and blobs behind an image's name, and what is here of them."""

from __future__ import annotations

import sys

from corten.cli.command import Call, Command
from corten.cli.human_size import human_size
from corten.cli.json_output import wants_json, write_json
from corten.cli.option import Option
from corten.cli.shortening import short_id
from corten.client.query import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    Branch = tuple[str, list["Branch"]]  # a line, and what hangs on it

_SHOWN_NAMES = 3


def tree(call: Call) -> None:
    """Ask and draw."""
    as_json = wants_json(call.values["format"])
    answer = call.client.call("GET", f"/corten/images/{quote(call.arguments[0], '/:@')}/tree")
    if as_json:
        write_json(answer)
        return
    full = call.values["no-trunc"]
    line, branches = _node(answer["Root"], full=full)
    sys.stdout.write("".join(f"{text}\n" for text in [f"{answer['Name']}  {line}", *_drawn(branches)]))


def _drawn(branches: list[Branch]) -> Iterator[str]:
    for number, (line, below) in enumerate(branches):
        last = number == len(branches) - 1
        yield f"{'└─' if last else '├─'} {line}"
        for text in _drawn(below):
            yield f"{'  ' if last else '│ '} {text}"


def _node(node: dict[str, Any], *, full: bool) -> Branch:
    descriptor = node["Descriptor"]
    words = [node.get("Platform") or "", "manifest" if node["Kind"] == "image" else node["Kind"]]
    words += [_id(descriptor["digest"], full=full), human_size(descriptor["size"])]
    if node.get("About"):
        words.append(f"about {_id(node['About'], full=full)}")
    if not node["Available"]:
        words.append("(not here)" if not node.get("Config") and not node.get("Children") else "(in part)")
    if node.get("Containers"):
        count = len(node["Containers"])
        words.append(f"used by {count} container{'s' * (count != 1)}")
    below: list[Branch] = []
    if node.get("Config"):
        below.append((_blob("config", node["Config"], full=full), []))
    kind = "layer" if node["Kind"] == "image" else "blob"
    below += [(_blob(kind, blob, full=full), []) for blob in node.get("Layers") or []]
    below += [_node(child, full=full) for child in node.get("Children") or []]
    return "  ".join(word for word in words if word), below


def _blob(kind: str, blob: dict[str, Any], *, full: bool) -> str:
    descriptor = blob["Descriptor"]
    words = [kind, _id(descriptor["digest"], full=full), human_size(descriptor["size"])]
    if blob.get("UnpackedSize", -1) >= 0:
        words.append(f"{human_size(blob['UnpackedSize'])} unpacked")
    if not blob["Available"]:
        words.append("(not here)")
    names = blob.get("SharedWith") or []
    if names:
        more = len(names) - _SHOWN_NAMES
        shown = names if full or more <= 0 else [*names[:_SHOWN_NAMES], f"{more} more"]
        words.append(f"shared with {', '.join(shown)}")
    return "  ".join(words)


def _id(digest: str, *, full: bool) -> str:
    return digest if full else short_id(digest)


COMMAND = Command(
    "[OPTIONS] IMAGE",
    tree,
    (
        Option("--format", "string", "Format the output: 'json'"),
        Option("--no-trunc", "bool", "Show long texts uncut"),
    ),
    least=1,
    most=1,
)
