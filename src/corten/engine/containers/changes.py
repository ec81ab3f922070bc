"""What a container has changed of its image's files (`docker diff`). Daemon."""

from __future__ import annotations

from typing import Protocol

import msgspec

from corten.engine.containers.live import Container
from corten.lib import blocking
from corten.store.snapshots.driver import Change

_KINDS = {"C": 0, "A": 1, "D": 2}


class ChangeItem(msgspec.Struct, rename="pascal"):
    """One difference: `kind` is 0 (changed), 1 (added) or 2 (deleted)."""

    path: str
    kind: int


class ContainerLookup(Protocol):
    """Containers by what a client calls them."""

    def find(self, reference: str) -> Container:
        """Raises NotFound."""


class Snapshots(Protocol):
    """The writable layers."""

    def changes(self, key: str) -> list[Change]:
        """What the snapshot has changed; blocking."""


class ChangesService:
    """Differences between containers and their images."""

    def __init__(self, *, containers: ContainerLookup, snapshots: Snapshots) -> None:
        self._containers = containers
        self._snapshots = snapshots

    async def list_(self, reference: str) -> list[ChangeItem] | None:
        """All differences, parents first; None, as Docker says it, when there are none. Raises NotFound."""
        container = self._containers.find(reference)
        found = await blocking.run(self._snapshots.changes, container.record.id)
        return [
            ChangeItem(path=change.path.decode("utf-8", "replace"), kind=_KINDS[change.kind]) for change in found
        ] or None
