"""What is done with the build cache between builds: told, pruned, kept below its limit. Daemon's loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from corten.build.cache import BuildCache
from corten.build.cache_mounts import CacheMounts
from corten.build.cache_pruning import Wish, oldest_above, rows, to_prune
from corten.build.fetching import Fetching
from corten.engine.events import Events
from corten.engine.images.library import ImageLibrary
from corten.spec.docker import build as wire
from corten.store.gc import Node

_RECORDS_LIMIT = 5000  # some kilobytes each, of memory and of the database


class CacheUpkeep:
    """One a daemon; `limit_bytes` is what the cache may hold after a build."""

    def __init__(
        self,
        *,
        cache: BuildCache,
        caches: CacheMounts,
        fetching: Fetching,
        library: ImageLibrary,
        events: Events,
        limit_bytes: Callable[[], int],
    ) -> None:
        self._cache = cache
        self._caches = caches
        self._fetching = fetching
        self._library = library
        self._events = events
        self._limit_bytes = limit_bytes

    def usage(self) -> list[wire.BuildCache]:
        """The records, for `system df`."""
        return rows(self._cache.records(), self._shared())

    async def prune(self, wish: Wish) -> wire.BuildPruneReport:
        """Forget records, and delete what nothing else needs then. Raises InvalidArgument for a bad filter."""
        keys = to_prune(self._cache.records(), wish, self._shared())
        reclaimed = await self._forget(keys)
        if wish.is_whole:
            reclaimed += await self._caches.prune() + await self._fetching.prune()
        self._events.publish("builder", "prune", "", {"reclaimed": str(reclaimed)})
        return wire.BuildPruneReport(caches_deleted=keys, space_reclaimed=reclaimed)

    async def trim(self) -> None:
        """Forget what was used least recently, as far as there is too much."""
        await self._forget(oldest_above(self._cache.records(), self._limit_bytes(), _RECORDS_LIMIT))

    async def _forget(self, keys: Sequence[str]) -> int:
        """Forget records; how many bytes of layers were deleted with them."""
        records = self._cache.records()
        sizes = {chain: record.size for key in keys for record in [records[key]] for chain in record.own_chain}
        nodes: list[Node] = self._cache.forget(keys)
        gone = await self._library.discard(nodes) if nodes else []
        return sum(sizes.get(node.key, 0) for node in gone)

    def _shared(self) -> set[str]:
        return {chain_id for entry in self._library.catalog for chain_id in entry.chain}
