"""What one build has imported of other caches: records that are looked up behind its own. Pure; daemon's loop.

Their layers may be elsewhere still (`lazy_layers`). Records that the build has used, and those below them, are its own
cache's once their layers are here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from corten.build.caching.format import CacheContent, CacheMountRecord, Step
from corten.build.filesystem import FileSystem
from corten.build.solver import Found
from corten.store.leases import Lease

_MOST = 20_000


class Imports:
    """Records by key, of all caches; the first that has a key counts."""

    def __init__(self) -> None:
        self._steps: dict[str, Step] = {}
        self._aliases: dict[str, str] = {}
        self._mounts: dict[str, CacheMountRecord] = {}
        self._used: set[str] = set()

    def add(self, content: CacheContent) -> None:
        """Take over what a cache has."""
        for step in content.steps[: _MOST - len(self._steps)]:
            if self._steps.setdefault(step.key, step) is step:
                for alias in step.aliases:
                    self._aliases.setdefault(alias, step.key)
        for mount in content.mounts:
            self._mounts.setdefault(mount.name, mount)

    def clear(self) -> None:
        """Know nothing any more."""
        self._steps.clear()
        self._aliases.clear()
        self._mounts.clear()
        self._used.clear()

    def step(self, key: str) -> Step | None:
        """The record under a key."""
        return self._steps.get(self._aliases.get(key, key))

    def peek(self, key: str) -> FileSystem | None:
        """The result under a key, without using it."""
        step = self.step(key)
        return step.filesystem if step else None

    def mount(self, name: str) -> CacheMountRecord | None:
        """The content of a cache mount, by its directory's name."""
        return self._mounts.get(name)

    def find(self, key: str, lease: Lease) -> Found | None:
        """The result under a key, leased from here on."""
        step = self.step(key)
        if step is None:
            return None
        lease.add(*step.filesystem.keys())
        self._used.add(step.key)
        return Found(step.key, step.filesystem)

    def used(self, is_complete: Callable[[FileSystem], bool]) -> Iterator[Step]:
        """The records that were used and those that they stand on, as far as they are here."""
        found = {key: self._steps[key] for key in self._used}
        below = {layer.key for step in found.values() for layer in step.filesystem.layers if layer.key}
        for key in below:
            step = self._steps.get(key)
            if step is not None and any(_stands_on(used.filesystem, step.filesystem) for used in found.values()):
                found[key] = step
        for step in found.values():
            if is_complete(step.filesystem):
                yield step


def _stands_on(upper: FileSystem, lower: FileSystem) -> bool:
    return upper.layers[: len(lower.layers)] == lower.layers
