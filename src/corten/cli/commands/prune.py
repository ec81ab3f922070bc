"""The `prune` commands: remove what is unused, after a question."""

from __future__ import annotations

import sys

from corten.cli.command import Call, Command
from corten.cli.errors import CliError
from corten.cli.filters import encode_filters
from corten.cli.human_size import human_size
from corten.cli.option import Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


_QUESTION = "Are you sure you want to continue? [y/N] "


def confirmed(call: Call, warning: str) -> bool:
    """Ask, unless --force was given; anything but y or yes is no."""
    if call.values["force"]:
        return True
    sys.stdout.write(f"{warning}\n{_QUESTION}")
    sys.stdout.flush()
    answer = sys.stdin.readline().strip().lower()
    return answer in ("y", "yes")


def _filters(call: Call) -> list[tuple[str, str]]:
    return list(call.values["filter"])


def _containers(call: Call) -> tuple[int, str]:
    answer = call.client.call("POST", "/containers/prune", query={"filters": encode_filters(_filters(call))})
    return answer.get("SpaceReclaimed") or 0, _listing("Deleted Containers:", answer.get("ContainersDeleted"))


def _networks(call: Call) -> tuple[int, str]:
    answer = call.client.call("POST", "/networks/prune", query={"filters": encode_filters(_filters(call))})
    return 0, _listing("Deleted Networks:", answer.get("NetworksDeleted"))


def _volumes(call: Call, *, whole: bool) -> tuple[int, str]:
    pairs = [*_filters(call), *([("all", "true")] if whole else [])]
    answer = call.client.call("POST", "/volumes/prune", query={"filters": encode_filters(pairs)})
    return answer.get("SpaceReclaimed") or 0, _listing("Deleted Volumes:", answer.get("VolumesDeleted"))


def _images(call: Call, *, whole: bool) -> tuple[int, str]:
    pairs = [("dangling", "false" if whole else "true"), *_filters(call)]
    answer = call.client.call("POST", "/images/prune", query={"filters": encode_filters(pairs)})
    lines = [
        f"untagged: {item['Untagged']}" if item.get("Untagged") else f"deleted: {item.get('Deleted')}"
        for item in answer.get("ImagesDeleted") or []
    ]
    return answer.get("SpaceReclaimed") or 0, _listing("Deleted Images:", lines)


def _cache(call: Call, *, whole: bool) -> tuple[int, str]:
    query: dict[str, object] = {"all": whole, "filters": encode_filters(_filters(call))}
    if call.values.knows("keep-storage"):
        for name in ("keep-storage", "max-used-space", "reserved-space"):
            query[name] = call.values[name] or None
        if call.values["min-free-space"]:
            raise CliError("--min-free-space is not supported: use --max-used-space")
    answer = call.client.call("POST", "/build/prune", query=query)
    return answer.get("SpaceReclaimed") or 0, _listing("Deleted build cache objects:", answer.get("CachesDeleted"))


def _listing(title: str, names: list[str] | None) -> str:
    return "\n".join([title, *names, ""]) if names else ""


def _prune_containers(call: Call) -> None:
    if confirmed(call, "WARNING! This will remove all stopped containers."):
        _report([_containers(call)])


def _prune_networks(call: Call) -> None:
    if confirmed(call, "WARNING! This will remove all custom networks not used by at least one container."):
        _, text = _networks(call)
        if text:
            sys.stdout.write(f"{text}\n")


def _prune_volumes(call: Call) -> None:
    whole = call.values["all"]
    if whole and any(name == "all" for name, _ in _filters(call)):
        raise CliError("conflicting options: cannot specify both --all and --filter all=1")
    kind = "all local volumes" if whole else "anonymous local volumes"
    if confirmed(call, f"WARNING! This will remove {kind} not used by at least one container."):
        _report([_volumes(call, whole=whole)])


def _prune_images(call: Call) -> None:
    whole = call.values["all"]
    kind = "all images without at least one container associated to them" if whole else "all dangling images"
    if confirmed(call, f"WARNING! This will remove {kind}."):
        _report([_images(call, whole=whole)])


def _prune_cache(call: Call) -> None:
    whole = call.values["all"]
    if confirmed(call, f"WARNING! This will remove all {'' if whole else 'dangling '}build cache."):
        _report([_cache(call, whole=whole)])


def _prune_system(call: Call) -> None:
    values = call.values
    if values["volumes"] and any(name == "until" for name, _ in _filters(call)):
        raise CliError('ERROR: The "until" filter is not supported with "--volumes"')
    whole = values["all"]
    lines = ["  - all stopped containers", "  - all networks not used by at least one container"]
    if values["volumes"]:
        lines.append("  - all anonymous volumes not used by at least one container")
    lines.append(
        "  - all images without at least one container associated to them" if whole else "  - all dangling images"
    )
    lines.append("  - all build cache" if whole else "  - unused build cache")
    pairs = _filters(call)
    if pairs:
        lines += [
            "",
            "  Items to be pruned will be filtered with:",
            *(f"  - {name}={value}" for name, value in sorted(pairs)),
        ]
    if not confirmed(call, "WARNING! This will remove:\n" + "\n".join(lines) + "\n"):
        return
    steps: list[Callable[[], tuple[int, str]]] = [lambda: _containers(call), lambda: _networks(call)]
    if values["volumes"]:
        steps.append(lambda: _volumes(call, whole=False))
    steps += [lambda: _images(call, whole=whole), lambda: _cache(call, whole=whole)]
    _report([_optional(step) for step in steps])


def _optional(step: Callable[[], tuple[int, str]]) -> tuple[int, str]:
    """An engine that does not build has no cache to prune."""
    from corten.client.errors import ApiError

    try:
        return step()
    except ApiError as error:
        if error.status in (404, 501):
            return 0, ""
        raise


def _report(results: list[tuple[int, str]]) -> None:
    for _, text in results:
        if text:
            sys.stdout.write(f"{text}\n")
    sys.stdout.write(f"Total reclaimed space: {human_size(sum(size for size, _ in results), 4)}\n")


_FILTER = Option("--filter", "filter", 'Only what matches (e.g., "until=24h", "label=a=b")')
_FORCE = Option("-f, --force", "bool", "Do not ask")
CONTAINERS = Command("[OPTIONS]", _prune_containers, (_FILTER, _FORCE))
NETWORKS = Command("[OPTIONS]", _prune_networks, (_FILTER, _FORCE))
VOLUMES = Command("[OPTIONS]", _prune_volumes, (Option("-a, --all", "bool", "Named volumes too"), _FILTER, _FORCE))
IMAGES = Command(
    "[OPTIONS]",
    _prune_images,
    (Option("-a, --all", "bool", "All unused images, not only nameless ones"), _FILTER, _FORCE),
)
_KEEP = Option("--keep-storage", "bytes", "Keep this much of the cache")
BUILDER = Command(
    "[OPTIONS]",
    _prune_cache,
    (
        Option("-a, --all", "bool", "All of the cache, also what images share"),
        Option("--builder", "string", "The builder: there is one, called default", hidden=True),
        _FILTER,
        _FORCE,
        _KEEP,
        Option("--max-used-space", "bytes", "Keep at most this much of the cache"),
        Option("--min-free-space", "bytes", "Free space to reach", hidden=True),
        Option("--reserved-space", "bytes", "Keep this much of the cache in any case"),
        Option("--verbose", "bool", "Tell more (all is told)", hidden=True),
    ),
)
SYSTEM = Command(
    "[OPTIONS]",
    _prune_system,
    (
        Option("-a, --all", "bool", "All unused images, not only nameless ones"),
        _FILTER,
        _FORCE,
        Option("--volumes", "bool", "Anonymous volumes too"),
    ),
)
