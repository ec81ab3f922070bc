"""Remove all containers that do not run. Daemon."""

from __future__ import annotations

import logging
import time

from corten.engine.containers.collaborators import Snapshots
from corten.engine.containers.filters import Filters, matches_labels
from corten.engine.containers.live import Container
from corten.engine.containers.registry import Registry
from corten.engine.containers.remove import Remover
from corten.engine.events import Events
from corten.errors import CortenError, InvalidArgument
from corten.lib import blocking
from corten.lib.timestamps import parse_timestamp
from corten.spec.docker.container import ContainerPruneResponse

KNOWN = ("label", "label!", "until")
_LOG = logging.getLogger("corten.containers")


def parse_until(text: str, now_ns: int) -> int:
    """A time of the past as Unix nanoseconds: Go duration, Unix seconds, or RFC 3339. Raises InvalidArgument."""
    found = parse_timestamp(text, now_ns)
    if found is None:
        raise InvalidArgument("invalid filter 'until='")
    return found


def prunable(container: Container, filters: Filters, until_ns: int | None) -> bool:
    """Whether prune removes a container."""
    record = container.record
    if record.status.status.is_running:
        return False
    if until_ns is not None and record.created_ns > until_ns:
        return False
    if not matches_labels(filters.get("label", ()), record.labels):
        return False
    return not any(matches_labels([item], record.labels) for item in filters.get("label!", ()))


class Pruner:
    """The use case of POST /containers/prune."""

    def __init__(self, *, registry: Registry, remover: Remover, snapshots: Snapshots, events: Events) -> None:
        self._registry = registry
        self._remover = remover
        self._snapshots = snapshots
        self._events = events

    async def prune(self, filters: Filters) -> ContainerPruneResponse:
        """Raises InvalidArgument (filters)."""
        limits = [parse_until(text, time.time_ns()) for text in filters.get("until", ())]
        until_ns = min(limits) if limits else None
        gone: list[str] = []
        reclaimed = 0
        for container in self._registry:
            if not prunable(container, filters, until_ns):
                continue
            try:
                size = await blocking.run(self._snapshots.usage, container.id)
                await self._remover.remove(container.id)
            except (CortenError, OSError) as error:
                _LOG.warning("container %s could not be pruned: %s", container.id, error)
                continue
            gone.append(container.id)
            reclaimed += size
        self._events.publish("container", "prune", "", {"reclaimed": str(reclaimed)})
        return ContainerPruneResponse(containers_deleted=gone or None, space_reclaimed=reclaimed)
