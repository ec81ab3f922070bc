"""`corten images`: the list of images, a line for each name."""

from __future__ import annotations

from corten.cli.command import Call, Command
from corten.cli.errors import CliError
from corten.cli.filters import encode_filters
from corten.cli.human_size import human_size
from corten.cli.human_time import ago, go_time
from corten.cli.option import Option
from corten.cli.shortening import short_id
from corten.cli.table_output import FORMAT_HELP, ListFormat, write_list

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from corten.cli.table_output import Column

_NONE = "<none>"
_CREATED = "{{if .CreatedSince }}{{.CreatedSince}}{{else}}N/A{{end}}"


def columns(*, full: bool) -> dict[str, Column]:
    """What can be shown of an image's name."""
    return {
        "ID": ("IMAGE ID", lambda item: item["Id"] if full else short_id(item["Id"])),
        "Repository": ("REPOSITORY", lambda item: item["repository"]),
        "Tag": ("TAG", lambda item: item["tag"]),
        "Digest": ("DIGEST", lambda item: item["digest"]),
        "CreatedSince": ("CREATED", lambda item: ago(item["Created"]) if item["Created"] > 0 else ""),
        "CreatedAt": ("CREATED AT", lambda item: go_time(item["Created"])),
        "Size": ("SIZE", lambda item: human_size(item["Size"])),
        "Containers": ("CONTAINERS", lambda item: _count(item.get("Containers", -1))),
        "VirtualSize": ("SIZE", lambda item: human_size(item.get("VirtualSize") or item["Size"], 4)),
        "SharedSize": ("SHARED SIZE", lambda item: _size(item.get("SharedSize", -1))),
        "UniqueSize": ("UNIQUE SIZE", _unique),
    }


def _count(value: int) -> str:
    return "N/A" if value == -1 else str(value)


def _size(value: int) -> str:
    return "N/A" if value == -1 else human_size(value)


def _unique(item: dict[str, Any]) -> str:
    shared = item.get("SharedSize", -1)
    return "N/A" if shared == -1 else human_size(item["Size"] - shared)


def expand(images: list[dict[str, Any]], *, digests: bool) -> list[dict[str, Any]]:
    """One item for each tag; a digest without a tag, and an image without either, get a line of their own."""
    items = []
    for image in images:
        tags = [tag for tag in image.get("RepoTags") or [] if tag != "<none>:<none>"]
        named = [one for one in image.get("RepoDigests") or [] if one != "<none>@<none>"]
        by_name: dict[str, list[str]] = {}
        for one in named:
            name, _, digest = one.partition("@")
            by_name.setdefault(name, []).append(digest)
        used = set()
        for tag in tags:
            name, _, suffix = tag.rpartition(":")
            used.add(name)
            shown = (by_name.get(name) or [_NONE]) if digests else [_NONE]
            items += [{**image, "repository": name, "tag": suffix, "digest": digest} for digest in shown]
        for name, found in by_name.items():
            if name not in used:
                found = found if digests else [""]
                items += [{**image, "repository": name, "tag": _NONE, "digest": digest} for digest in found]
        if not tags and not by_name:
            items.append({**image, "repository": _NONE, "tag": _NONE, "digest": _NONE})
    return items


def list_images(call: Call) -> None:
    """Ask and print."""
    values = call.values
    if values["tree"]:
        _list_tree(call)
        return
    text = values["format"]
    if not text and not values["quiet"]:
        from corten.cli.config_file import read_config

        text = str(read_config().get("imagesFormat") or "")
    digest = "\t{{.Digest}}" if values["digests"] else ""
    table = f"{{{{.Repository}}}}\t{{{{.Tag}}}}{digest}\t{{{{.ID}}}}\t{_CREATED}\t{{{{.Size}}}}"
    form = ListFormat(text, table=table, quiet="{{.ID}}", is_quiet=values["quiet"])
    images = _ask(call)
    items = expand(images, digests=values["digests"] or ".Digest" in form.source)
    write_list(items, columns(full=values["no-trunc"]), form, type_name="*formatter.imageContext")


def _ask(call: Call, **more: object) -> list[dict[str, Any]]:
    filters = list(call.values["filter"])
    if call.arguments:
        filters.append(("reference", call.arguments[0]))
    query = {"all": call.values["all"], "filters": encode_filters(filters), **more}
    images: list[dict[str, Any]] = call.client.call("GET", "/images/json", query=query) or []
    images.sort(key=lambda image: -image["Created"])
    return images


def _list_tree(call: Call) -> None:
    from corten.cli.images_tree import write_tree

    for name in ("quiet", "digests", "format"):
        if call.values[name]:
            raise CliError(f"--{name} is not yet supported with --tree")
    write_tree(_ask(call, manifests="1"), full=call.values["no-trunc"])


COMMAND = Command(
    "[OPTIONS] [REPOSITORY[:TAG]]",
    list_images,
    (
        Option("-a, --all", "bool", "Show intermediate images too"),
        Option("--digests", "bool", "Show digests"),
        Option("-f, --filter", "filter", "Show only what matches"),
        Option("--format", "string", FORMAT_HELP),
        Option("--no-trunc", "bool", "Show long texts uncut"),
        Option("-q, --quiet", "bool", "Show IDs only"),
        Option("--tree", "bool", "Show the platforms of each image as a tree"),
    ),
    most=1,
)
