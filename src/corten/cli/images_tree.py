"""`corten images --tree`: each image with the platforms of its index, what is here of them, and which are in use."""

from __future__ import annotations

import sys

from corten.cli.human_size import human_size
from corten.cli.shortening import short_id
from corten.cli.table_output import align

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_HEADINGS = "IMAGE\tID\tDISK USAGE\tCONTENT SIZE\tIN USE"


def write_tree(images: list[dict[str, Any]], *, full: bool) -> None:
    """Print the images, which were asked for with their manifests."""
    rows = [_HEADINGS]
    for image in images:
        rows += _rows(image, full=full)
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in align(rows)))


def _rows(image: dict[str, Any], *, full: bool) -> Iterator[str]:
    manifests = image.get("Manifests") or []
    platforms = [one for one in manifests if one["Kind"] == "image"]
    content = sum(one["Size"]["Content"] for one in manifests)
    used = any(one["ImageData"]["Containers"] for one in platforms)
    tags = [tag for tag in image.get("RepoTags") or [] if tag != "<none>:<none>"] or ["<none>"]
    yield from tags[:-1]
    yield _row(tags[-1], image["Id"], image["Size"], content, used=used, full=full)
    for number, one in enumerate(platforms):
        mark = "└─" if number == len(platforms) - 1 else "├─"
        name = f"{mark} {_platform(one['ImageData']['Platform'])}"
        if not one["Available"]:
            name += " (not here)" if not one["Size"]["Content"] else " (in part)"
        used = bool(one["ImageData"]["Containers"])
        yield _row(name, one["ID"], one["Size"]["Total"], one["Size"]["Content"], used=used, full=full)


def _row(name: str, digest: str, size: int, content: int, *, used: bool, full: bool) -> str:
    shown = digest if full else short_id(digest)
    return f"{name}\t{shown}\t{human_size(size)}\t{human_size(content)}\t{'yes' if used else ''}"


def _platform(platform: dict[str, str]) -> str:
    parts = (platform.get("os"), platform.get("architecture"), platform.get("variant"))
    return "/".join(part for part in parts if part)
