"""Images as Docker's API shows them: the rows and objects made of a catalog entry. Pure; daemon."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from corten.engine.images.catalog import Catalog, ImageEntry
from corten.engine.images.filters import created_s, familiar_match
from corten.spec.docker import image as wire
from corten.spec.oci_image import Descriptor, Image

ZERO_TIME = "0001-01-01T00:00:00Z"
NEWEST = (1, 50)  # of the API's versions, as far as images look different
_NO_NAME = "<none>:<none>"
_CONTAINER_CONFIG: dict[str, Any] = {
    "Hostname": "",
    "Domainname": "",
    "User": "",
    "AttachStdin": False,
    "AttachStdout": False,
    "AttachStderr": False,
    "Tty": False,
    "OpenStdin": False,
    "StdinOnce": False,
    "Env": None,
    "Cmd": None,
    "Image": "",
    "Volumes": None,
    "WorkingDir": "",
    "Entrypoint": None,
    "OnBuild": None,
    "Labels": None,
}


def rfc3339(time_ns: int) -> str:
    """Nanoseconds of Unix time as Go writes them; 0 is Go's zero time."""
    if time_ns <= 0:
        return ZERO_TIME
    seconds, nanoseconds = divmod(time_ns, 1_000_000_000)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    fraction = f".{nanoseconds:09d}".rstrip("0").rstrip(".")
    return f"{text}{fraction}Z"


def summary(
    entry: ImageEntry,
    *,
    patterns: Sequence[str] = (),
    shared_size: int = -1,
    containers: int = -1,
    api: tuple[int, int] = NEWEST,
) -> wire.ImageSummary:
    """One row of a list; with `patterns` only the names that fit one of them."""
    names = [n for n in entry.names() if not patterns or any(familiar_match(p, n) for p in patterns)]
    tags = [name.familiar for name in names if name.tag]
    digests = [name.familiar for name in names if name.digest]
    if api < (1, 43) and not tags:
        tags = [_NO_NAME]
        digests = digests or ["<none>@<none>"]
    row = wire.ImageSummary(
        id=entry.id,
        parent_id=entry.parent,
        repo_tags=tags,
        repo_digests=digests,
        created=created_s(entry.config.created),
        size=entry.unpacked_size,
        shared_size=shared_size,
        labels=entry.config.defaults.labels,
        containers=containers,
    )
    if api < (1, 44):
        row.virtual_size = entry.unpacked_size
    if api >= (1, 48):
        row.descriptor = entry.roots[0]
    return row


def add_manifests(row: wire.ImageSummary, manifests: list[wire.ManifestSummary]) -> None:
    """Tell of an image's manifests; its size is then that of all that is here of them, packed and unpacked."""
    row.manifests = manifests
    row.size = sum(manifest.size.total for manifest in manifests)


def inspect(entry: ImageEntry, target: Descriptor, *, driver: str, api: tuple[int, int] = NEWEST) -> wire.ImageInspect:
    """The whole of an image that was asked for by a name for `target`.

    What older versions of the API tell besides is about containers, and always the same.
    """
    image = entry.config
    config: dict[str, Any] = msgspec.to_builtins(image.defaults)
    shown = wire.ImageInspect(
        id=entry.id,
        repo_tags=entry.repo_tags(),
        repo_digests=entry.repo_digests(),
        parent=entry.parent,
        comment=image.comment or _last_comment(image),
        created=image.created,
        docker_version=image.docker_version or "",
        author=image.author or "",
        config={**_CONTAINER_CONFIG, **config} if api < (1, 50) else config,
        architecture=image.architecture,
        os=image.os or "linux",
        size=entry.unpacked_size,
        graph_driver=wire.DriverData(data=None, name=driver),
        root_fs=wire.RootFS(type="layers", layers=image.diff_ids),
        metadata={"LastTagTime": rfc3339(entry.tagged_ns)},
    )
    if api >= (1, 48):
        shown.descriptor = target
    if image.variant:
        shown.variant = image.variant
    if image.os_version:
        shown.os_version = image.os_version
    if api < (1, 45):
        shown.container_config = dict(_CONTAINER_CONFIG)
        if image.container:
            shown.container = image.container
    if api < (1, 44):
        shown.virtual_size = entry.unpacked_size
    return shown


def history(entry: ImageEntry) -> list[wire.HistoryItem]:
    """The steps that made the image, newest first; ids of steps that are not images here are `<missing>`."""
    sizes = iter(entry.layer_sizes)
    rows = [
        wire.HistoryItem(
            id="<missing>",
            created=created_s(step.created),
            created_by=step.created_by,
            tags=None,
            size=0 if step.empty_layer else next(sizes, 0),
            comment=step.comment,
        )
        for step in entry.config.history or []
    ]
    if not rows:
        rows.append(
            wire.HistoryItem(
                id="", created=created_s(entry.config.created), created_by="", tags=None, size=sum(sizes), comment=""
            )
        )
    rows.reverse()
    rows[0].id = entry.id
    rows[0].tags = entry.repo_tags() or None
    return rows


def shared_sizes(catalog: Catalog) -> Mapping[str, int]:
    """For each image the size of the layers that another image has too."""
    users: dict[str, int] = {}
    for entry in catalog:
        for chain_id in set(entry.chain):
            users[chain_id] = users.get(chain_id, 0) + 1
    return {
        entry.id: sum(size for chain, size in zip(entry.chain, entry.layer_sizes, strict=False) if users[chain] > 1)
        for entry in catalog
    }


def _last_comment(image: Image) -> str:
    return image.history[-1].comment if image.history else ""
