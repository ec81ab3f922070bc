"""`docker ps --filter`: which containers a list shows. Pure, but for what is looked up by the functions given."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from corten.engine.containers.live import Container
from corten.engine.containers.status import Status
from corten.errors import InvalidArgument
from corten.network.ports import parse_port

KNOWN = (
    "ancestor",
    "before",
    "expose",
    "exited",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
)
Filters = Mapping[str, list[str]]
_PATTERN_LIMIT = 256
_HEALTH = ("none", "starting", "healthy", "unhealthy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookups:
    """What some filters have to ask others."""

    find: Callable[[str], Container]
    image_id: Callable[[str], str]  # "" when there is no such image


def matches_text(patterns: Sequence[str], values: Sequence[str]) -> bool:
    """Docker's match: equal, or found as a regular expression in one of the values; no patterns match all."""
    if not patterns:
        return True
    for pattern in patterns:
        if pattern in values:
            return True
        if len(pattern) > _PATTERN_LIMIT:
            continue
        try:
            compiled = re.compile(pattern)
        except re.error:
            continue
        if any(compiled.search(value) for value in values):
            return True
    return False


def matches_labels(wanted: Sequence[str], labels: Mapping[str, str]) -> bool:
    """All of `key` or `key=value`."""
    for item in wanted:
        key, equals, value = item.partition("=")
        if key not in labels or (equals and labels[key] != value):
            return False
    return True


def shows_stopped(filters: Filters) -> bool:
    """Whether a filter itself asks for containers that do not run."""
    return bool(filters.get("status") or filters.get("exited"))


def check_filters(filters: Filters) -> None:
    """Raises InvalidArgument with Docker's texts."""
    for status in filters.get("status", ()):
        if status not in {entry.value for entry in Status}:
            raise InvalidArgument(f"invalid filter 'status={status[:32]}'")
    for health in filters.get("health", ()):
        if health not in _HEALTH:
            raise InvalidArgument(f"invalid filter 'health={health[:32]}'")
    for code in filters.get("exited", ()):
        if not re.fullmatch(r"-?[0-9]{1,9}", code):
            raise InvalidArgument(f"invalid filter 'exited={code[:32]}'")
    for task in filters.get("is-task", ()):
        if task.lower() not in ("true", "false", "0", "1"):
            raise InvalidArgument(f"invalid filter 'is-task={task[:32]}'")


def select(containers: Sequence[Container], filters: Filters, lookups: Lookups) -> list[Container]:
    """The containers that pass all filters. Raises InvalidArgument, NotFound (before, since)."""
    check_filters(filters)
    before = [lookups.find(name).record.created_ns for name in filters.get("before", ())]
    since = [lookups.find(name).record.created_ns for name in filters.get("since", ())]
    ancestors = {text: lookups.image_id(text) for text in filters.get("ancestor", ())}
    tests: list[Callable[[Container], bool]] = [
        lambda c: matches_text(filters.get("id", ()), [c.id]),
        lambda c: matches_text(filters.get("name", ()), [c.name, f"/{c.name}"]),
        lambda c: matches_labels(filters.get("label", ()), c.record.labels),
        lambda c: not filters.get("status") or c.record.status.status in filters["status"],
        lambda c: _exited(c, filters.get("exited", ())),
        lambda c: not filters.get("health") or health_of(c) in filters["health"],
        lambda c: all(c.record.created_ns < limit for limit in before),
        lambda c: all(c.record.created_ns > limit for limit in since),
        lambda c: not ancestors or any(_descends(c, text, found) for text, found in ancestors.items()),
        lambda c: not filters.get("volume") or any(_has_mount(c, text) for text in filters["volume"]),
        lambda c: not filters.get("network") or any(_in_network(c, text) for text in filters["network"]),
        lambda c: _ports(c, filters.get("publish", ()), published=True),
        lambda c: _ports(c, filters.get("expose", ()), published=False),
        lambda _c: not any(text.lower() in ("true", "1") for text in filters.get("is-task", ())),
        lambda _c: all(text in ("", "default") for text in filters.get("isolation", ())),
    ]
    return [container for container in containers if all(test(container) for test in tests)]


def health_of(container: Container) -> str:
    """The health as the filter names it."""
    if not container.record.has_healthcheck or container.health is None:
        return "none"
    return container.health.status


def _exited(container: Container, codes: Sequence[str]) -> bool:
    if not codes:
        return True
    status = container.record.status
    return (
        not status.status.is_running
        and status.started_ns > 0
        and str(status.exit_code) in {str(int(code)) for code in codes}
    )


def _descends(container: Container, text: str, image_id: str) -> bool:
    record = container.record
    return record.image_id == image_id if image_id else record.config.image == text


def _has_mount(container: Container, text: str) -> bool:
    return any(text in (mount.name, mount.destination, mount.source) for mount in container.record.mounts)


def _in_network(container: Container, text: str) -> bool:
    record = container.record
    names = {*record.networks, *record.attached}
    ids = [settings.network_id for settings in record.attached.values()]
    return text in names or any(network.startswith(text) for network in ids if network and text)


def _ports(container: Container, wanted: Sequence[str], *, published: bool) -> bool:
    if not wanted:
        return True
    have: set[str] = set()
    if published:
        for key, bindings in container.record.ports.items():
            if bindings:
                _number, _slash, protocol = key.partition("/")
                have.add(key)
                have.update(f"{binding.host_port}/{protocol}" for binding in bindings)
    else:
        have.update(container.record.config.exposed_ports or ())
    return any(_range(text) & have for text in wanted)


def _range(text: str) -> set[str]:
    numbers, _slash, protocol = text.partition("/")
    first, _dash, last = numbers.partition("-")
    low, name = parse_port(f"{first}/{protocol}" if protocol else first)
    high = parse_port(last)[0] if last else low
    return {f"{number}/{name}" for number in range(low, high + 1)}
