"""`corten system df`."""

from __future__ import annotations

import sys

from corten.cli.command import Call, Command
from corten.cli.human_size import human_size
from corten.cli.option import Option
from corten.cli.table_output import FORMAT_HELP, ListFormat, write_list
from corten.client.errors import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from corten.cli.table_output import Column

_ACTIVE = ("running", "paused", "restarting")


def _reclaimable(item: dict[str, Any]) -> str:
    text = human_size(item["free"], 4)
    return f"{text} ({int(item['free'] * 100 / item['size'])}%)" if item["size"] and item["percent"] else text


_COLUMNS: dict[str, Column] = {
    "Type": ("TYPE", lambda item: item["type"]),
    "TotalCount": ("TOTAL", lambda item: str(item["total"])),
    "Active": ("ACTIVE", lambda item: str(item["active"])),
    "Size": ("SIZE", lambda item: human_size(item["size"], 4)),
    "Reclaimable": ("RECLAIMABLE", _reclaimable),
}


def system_df(call: Call) -> None:
    """Ask and print a line a kind, or with -v all objects."""
    answer = call.client.call("GET", "/system/df")
    if call.values["verbose"]:
        _verbose(answer)
        _every_byte(call)
        return
    table = "{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}"
    form = ListFormat(call.values["format"], table=table)
    items = [_images(answer), _containers(answer), _volumes(answer), _cache(answer)]
    write_list(items, _COLUMNS, form, type_name="*formatter.diskUsageImagesContext")


def _images(answer: dict[str, Any]) -> dict[str, Any]:
    images = answer.get("Images") or []
    size = answer.get("LayersSize") or 0
    used = sum(_own_size(image) for image in images if image.get("Containers", 0) != 0)
    active = sum(1 for image in images if image.get("Containers", 0) > 0)
    free = max(size - used, 0)
    return {"type": "Images", "total": len(images), "active": active, "size": size, "free": free, "percent": True}


def _own_size(image: dict[str, Any]) -> int:
    if image.get("Size", -1) == -1 or image.get("SharedSize", -1) == -1:
        return 0
    return int(image["Size"]) - int(image["SharedSize"])


def _containers(answer: dict[str, Any]) -> dict[str, Any]:
    containers = answer.get("Containers") or []
    size = sum(one.get("SizeRw") or 0 for one in containers)
    running = [one for one in containers if one.get("State") in _ACTIVE]
    free = sum(one.get("SizeRw") or 0 for one in containers if one not in running)
    return {
        "type": "Containers",
        "total": len(containers),
        "active": len(running),
        "size": size,
        "free": free,
        "percent": True,
    }


def _usage(volume: dict[str, Any], field: str) -> int:
    return int((volume.get("UsageData") or {}).get(field, 0))


def _volumes(answer: dict[str, Any]) -> dict[str, Any]:
    volumes = answer.get("Volumes") or []
    sizes = [max(_usage(volume, "Size"), 0) for volume in volumes]
    free = sum(size for size, volume in zip(sizes, volumes, strict=True) if _usage(volume, "RefCount") == 0)
    active = sum(1 for volume in volumes if _usage(volume, "RefCount") > 0)
    return {
        "type": "Local Volumes",
        "total": len(volumes),
        "active": active,
        "size": sum(sizes),
        "free": free,
        "percent": True,
    }


def _cache(answer: dict[str, Any]) -> dict[str, Any]:
    caches = answer.get("BuildCache") or []
    size = sum(one.get("Size") or 0 for one in caches if not one.get("Shared"))
    used = sum(one.get("Size") or 0 for one in caches if one.get("InUse") and not one.get("Shared"))
    active = sum(1 for one in caches if one.get("InUse"))
    return {
        "type": "Build Cache",
        "total": len(caches),
        "active": active,
        "size": size,
        "free": size - used,
        "percent": False,
    }


_IMAGE_TABLE = (
    "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t"
    "{{.Size}}\t{{.SharedSize}}\t{{.UniqueSize}}\t{{.Containers}}"
)
_CONTAINER_TABLE = (
    "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.LocalVolumes}}\t{{.Size}}\t{{.RunningFor}}\t{{.Status}}\t{{.Names}}"
)


def _verbose(answer: dict[str, Any]) -> None:
    from corten.cli.commands import images, ps, volume_ls

    sys.stdout.write("Images space usage:\n\n")
    rows = images.expand(answer.get("Images") or [], digests=False)
    image_columns = images.columns(full=False)
    write_list(rows, image_columns, ListFormat("", table=_IMAGE_TABLE), type_name="*formatter.imageContext")
    sys.stdout.write("\nContainers space usage:\n\n")
    container_columns = {**ps.columns(full=False), "Size": ("SIZE", lambda item: human_size(item.get("SizeRw") or 0))}
    write_list(
        answer.get("Containers") or [],
        container_columns,
        ListFormat("", table=_CONTAINER_TABLE),
        type_name="*formatter.ContainerContext",
    )
    sys.stdout.write("\nLocal Volumes space usage:\n\n")
    form = ListFormat("", table="{{.Name}}\t{{.Links}}\t{{.Size}}")
    write_list(answer.get("Volumes") or [], volume_ls.COLUMNS, form, type_name="*formatter.volumeContext")
    sys.stdout.write(f"\nBuild cache usage: {human_size(_cache(answer)['size'])}\n\n")
    columns: dict[str, Column] = {
        "ID": ("CACHE ID", lambda item: item["ID"][:12]),
        "Type": ("CACHE TYPE", lambda item: item.get("Type", "")),
        "Size": ("SIZE", lambda item: human_size(item.get("Size") or 0)),
        "CreatedSince": ("CREATED", lambda item: _since(item.get("CreatedAt"))),
        "LastUsedSince": ("LAST USED", lambda item: _since(item.get("LastUsedAt"))),
        "UsageCount": ("USAGE", lambda item: str(item.get("UsageCount") or 0)),
        "Shared": ("SHARED", lambda item: "true" if item.get("Shared") else "false"),
    }
    table = "{{.ID}}\t{{.Type}}\t{{.Size}}\t{{.CreatedSince}}\t{{.LastUsedSince}}\t{{.UsageCount}}\t{{.Shared}}"
    form = ListFormat("", table=table)
    write_list(answer.get("BuildCache") or [], columns, form, type_name="*formatter.buildCacheContext")


def _since(text: str | None) -> str:
    from corten.cli.human_time import ago, parse_rfc3339

    return ago(parse_rfc3339(text)[0]) if text else ""


def _every_byte(call: Call) -> None:
    """What is on disk, whatever for; the last line is what du(1) says. Docker's engine has no such answer."""
    try:
        rows = call.client.call("GET", "/system/df", query={"type": "all-bytes"}).get("Corten")
    except ApiError:
        return
    if not rows:
        return
    sys.stdout.write("\nOn disk:\n\n")
    whole = {key: sum(row[key] for row in rows) for key in ("Count", "Size", "Reclaimable")}
    columns: dict[str, Column] = {
        "Type": ("KIND", lambda item: item["Type"]),
        "Count": ("COUNT", lambda item: str(item["Count"])),
        "Size": ("SIZE", lambda item: human_size(item["Size"], 4)),
        "Reclaimable": ("RECLAIMABLE", lambda item: human_size(item["Reclaimable"], 4)),
    }
    form = ListFormat("", table="{{.Type}}\t{{.Count}}\t{{.Size}}\t{{.Reclaimable}}")
    write_list([*rows, {"Type": "Sum", **whole}], columns, form, type_name="*formatter.diskUseContext")


COMMAND = Command(
    "[OPTIONS]",
    system_df,
    (
        Option("--format", "string", FORMAT_HELP),
        Option("-v, --verbose", "bool", "Show all objects"),
    ),
)
