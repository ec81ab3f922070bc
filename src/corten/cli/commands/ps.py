"""`corten ps`: the list of containers."""

from __future__ import annotations

from corten.cli.command import Call, Command
from corten.cli.container_ports import displayable_ports
from corten.cli.filters import encode_filters
from corten.cli.human_size import human_size
from corten.cli.human_time import ago, go_time
from corten.cli.option import Option
from corten.cli.shortening import ellipsis, short_id
from corten.cli.table_output import FORMAT_HELP, ListFormat, write_list
from corten.cli.template.printing import go_quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from corten.cli.table_output import Column

_TABLE = "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}"


def columns(*, full: bool) -> dict[str, Column]:
    """What can be shown of a container; `full` leaves long texts uncut."""
    return {
        "ID": ("CONTAINER ID", lambda item: item["Id"] if full else short_id(item["Id"])),
        "Names": ("NAMES", lambda item: _names(item, full)),
        "Image": ("IMAGE", lambda item: _image(item, full)),
        "Command": ("COMMAND", lambda item: go_quote(item["Command"] if full else ellipsis(item["Command"], 20))),
        "CreatedAt": ("CREATED AT", lambda item: go_time(item["Created"])),
        "RunningFor": ("CREATED", lambda item: ago(item["Created"])),
        "Ports": ("PORTS", lambda item: displayable_ports(item.get("Ports") or [])),
        "State": ("STATE", lambda item: str(item.get("State", ""))),
        "Status": ("STATUS", lambda item: str(item.get("Status", ""))),
        "Size": ("SIZE", _size),
        "Labels": ("LABELS", lambda item: labels_text(item.get("Labels"))),
        "Mounts": ("MOUNTS", lambda item: _mounts(item, full)),
        "LocalVolumes": ("LOCAL VOLUMES", _local_volumes),
        "Networks": ("NETWORKS", lambda item: ",".join((item.get("NetworkSettings") or {}).get("Networks") or {})),
        "Platform": ("PLATFORM", _platform),
    }


def labels_text(labels: dict[str, str] | None) -> str:
    """`a=b,c=d`."""
    return ",".join(f"{name}={value}" for name, value in sorted((labels or {}).items()))


def _names(item: dict[str, Any], full: bool) -> str:
    names = [name.removeprefix("/") for name in item.get("Names") or []]
    if not full:
        names = [name for name in names if "/" not in name] or names
    return ",".join(names)


def _image(item: dict[str, Any], full: bool) -> str:
    image: str = item.get("Image") or ""
    if not image:
        return "<no image>"
    if full:
        return image
    if short_id(item.get("ImageID") or "") == short_id(image):
        return short_id(image)
    name, at, digest = image.partition("@")
    if at and digest:
        return name if ":" in name.rpartition("/")[2] else image
    return image


def _size(item: dict[str, Any]) -> str:
    text = human_size(item.get("SizeRw") or 0)
    total = item.get("SizeRootFs") or 0
    return f"{text} (virtual {human_size(total)})" if total > 0 else text


def _mounts(item: dict[str, Any], full: bool) -> str:
    names = [mount.get("Name") or mount.get("Source") or "" for mount in item.get("Mounts") or []]
    return ",".join(name if full else ellipsis(name, 15) for name in names)


def _local_volumes(item: dict[str, Any]) -> str:
    return str(sum(1 for mount in item.get("Mounts") or [] if mount.get("Driver") == "local"))


def _platform(item: dict[str, Any]) -> str | None:
    descriptor = item.get("ImageManifestDescriptor") or {}
    platform = descriptor.get("platform")
    if not platform:
        return None
    return "/".join(
        part for part in (platform.get("os"), platform.get("architecture"), platform.get("variant")) if part
    )


def list_containers(call: Call) -> None:
    """Ask and print."""
    values = call.values
    text = values["format"]
    if not text and not values["quiet"]:
        from corten.cli.config_file import read_config

        text = str(read_config().get("psFormat") or "")
    table = _TABLE + ("\t{{.Size}}" if values["size"] else "")
    form = ListFormat(text, table=table, quiet="{{.ID}}", is_quiet=values["quiet"])
    last = 1 if values["latest"] and not values.given("last") else values["last"]
    query = {
        "all": values["all"],
        "limit": last if last > 0 else None,
        "size": values["size"]
        or (any(word in form.source for word in (".Size", "json .}")) and text != "json" and not values["quiet"]),
        "filters": encode_filters(values["filter"]),
    }
    form.parse("failed to parse template")  # before the engine is asked
    items = call.client.call("GET", "/containers/json", query=query) or []
    write_list(items, columns(full=values["no-trunc"]), form, type_name="*formatter.ContainerContext")


COMMAND = Command(
    "[OPTIONS]",
    list_containers,
    (
        Option("-a, --all", "bool", "Show stopped containers too"),
        Option("-f, --filter", "filter", "Show only what matches"),
        Option("--format", "string", FORMAT_HELP),
        Option("-n, --last", "int", "Show the n containers created last, in any state", default=-1),
        Option("-l, --latest", "bool", "Show the container created last, in any state"),
        Option("--no-trunc", "bool", "Show long texts uncut"),
        Option("-q, --quiet", "bool", "Show IDs only"),
        Option("-s, --size", "bool", "Show the size of files"),
    ),
)
