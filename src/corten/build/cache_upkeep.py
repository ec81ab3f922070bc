"""What is done with the build cache between builds: told, pruned, kept below its limit. Daemon's loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from corten.build.cache import BuildCache
from corten.build.cache_mounts import CacheMounts
from corten.build.cache_pruning import Wish, oldest_above, rows, to_prune
from corten.build.fetching import Fetching
from corten.build.session.contexts import KeptContexts
from corten.build.session.pruning import context_rows, contexts_to_prune
from corten.build.trees.hashes import HashMemory
from corten.engine.events import Events
from corten.engine.images.library import ImageLibrary
from corten.lib import blocking
from corten.spec.docker import build as wire
from corten.store.gc import Node

_RECORDS_LIMIT = 5000  # some kilobytes each, of memory and of the database
_CONTEXTS_SHARE = 4  # received contexts have a quarter of that beside the records: they are sent again


class CacheUpkeep:
    """One a daemon; `limit_bytes` is what the cache may hold after a build."""

    def __init__(
        self,
        *,
        cache: BuildCache,
        caches: CacheMounts,
        fetching: Fetching,
        hashes: HashMemory,
        library: ImageLibrary,
        events: Events,
        limit_bytes: Callable[[], int],
        contexts: KeptContexts,
    ) -> None:
        self._contexts = contexts
        self._cache = cache
        self._caches = caches
        self._fetching = fetching
        self._hashes = hashes
        self._library = library
        self._events = events
        self._limit_bytes = limit_bytes

    def usage(self) -> list[wire.BuildCache]:
        """The records, and what clients have sent of their directories, for `system df`."""
        return [*rows(self._cache.records(), self._shared()), *context_rows(self._contexts.abouts())]

    async def prune(self, wish: Wish) -> wire.BuildPruneReport:
        """Forget records, and delete what nothing else needs then. Raises InvalidArgument for a bad filter."""
        records = self._cache.records()
        keys = to_prune(records, wish, self._shared())
        kept_bytes = sum(record.size for key, record in records.items() if key not in keys)
        contexts = contexts_to_prune(self._contexts.abouts(), wish, kept_bytes)
        reclaimed = await self._forget(keys) + await self._contexts.remove(contexts)
        if wish.is_whole:
            reclaimed += await self._caches.prune() + await self._fetching.prune()
            reclaimed += await blocking.run(self._hashes.prune)
        self._events.publish("builder", "prune", "", {"reclaimed": str(reclaimed)})
        return wire.BuildPruneReport(caches_deleted=[*keys, *contexts], space_reclaimed=reclaimed)

    async def trim(self) -> None:
        """Forget what was used least recently, as far as there is too much."""
        limit = self._limit_bytes()
        if self._cache.has_grown:
            self._cache.has_grown = False  # first: a record that comes meanwhile is looked at next
            try:
                await self._forget(oldest_above(self._cache.records(), limit, _RECORDS_LIMIT))
            except BaseException:
                self._cache.has_grown = True
                raise
        await self._contexts.trim(limit // _CONTEXTS_SHARE)

    async def _forget(self, keys: Sequence[str]) -> int:
        """Forget records; how many bytes of layers were deleted with them."""
        records = self._cache.records()
        sizes = {chain: record.size for key in keys for record in [records[key]] for chain in record.own_chain}
        nodes: list[Node] = self._cache.forget(keys)
        gone = await self._library.discard(nodes) if nodes else []
        return sum(sizes.get(node.key, 0) for node in gone)

    def _shared(self) -> set[str]:
        return {chain_id for entry in self._library.catalog for chain_id in entry.chain}
