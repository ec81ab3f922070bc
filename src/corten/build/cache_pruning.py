"""Which records of the build cache go, and how the cache is shown. Pure; daemon."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from corten.build.cache import CacheRecord
from corten.build.export import time_text
from corten.errors import InvalidArgument
from corten.spec.docker.build import BuildCache

FILTERS = frozenset({"until", "unused-for", "id", "description", "inuse", "shared", "type", "parents", "private"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A prune: `everything` also takes what an image shares; `keep_bytes` may stay, the last used first; `before_ns`
    is the time of the last use that is old enough."""

    everything: bool = False
    keep_bytes: int = 0
    before_ns: int | None = None
    filters: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        """Whether nothing is to stay: cache mounts go with the rest then."""
        return not self.keep_bytes and self.before_ns is None and not self.filters


def to_prune(records: Mapping[str, CacheRecord], wish: Wish, shared: Collection[str]) -> list[str]:
    """The keys to forget; `shared` are the chainIDs of images' layers. Raises InvalidArgument for a bad filter."""
    wanted = {
        key: record
        for key, record in records.items()
        if (wish.everything or not _is_shared(record, shared))
        and (wish.before_ns is None or record.used_ns < wish.before_ns)
        and _is_selected(key, record, wish.filters, shared)
    }
    return oldest_above(wanted, wish.keep_bytes)


def oldest_above(records: Mapping[str, CacheRecord], limit: int, most: int | None = None) -> list[str]:
    """The keys to forget, least recently used first, so that the others' own layers fit into `limit` bytes, and that
    there are `most` of them: steps that change no file have no bytes, and records no end.

    A layer counts once, however many records have it; with a limit of 0 nothing is kept.
    """
    kept: set[str] = set()
    total = 0
    gone: list[str] = []
    for number, (key, record) in enumerate(sorted(records.items(), key=lambda item: item[1].used_ns, reverse=True)):
        new = [chain_id for chain_id in record.own_chain if chain_id not in kept]
        if not limit or (most is not None and number >= most) or (new and total + record.size > limit):
            gone.append(key)
        else:
            kept.update(new)
            total += record.size if new else 0
    return gone[::-1]


def _is_shared(record: CacheRecord, shared: Collection[str]) -> bool:
    return any(chain_id in shared for chain_id in record.own_chain)


def _is_selected(key: str, record: CacheRecord, filters: Mapping[str, Sequence[str]], shared: Collection[str]) -> bool:
    facts = {"id": key, "description": record.description, "type": "regular"}
    return is_selected(facts, filters, is_shared=_is_shared(record, shared))


def is_selected(facts: Mapping[str, str], filters: Mapping[str, Sequence[str]], *, is_shared: bool) -> bool:
    """Whether filters take a record of which `facts` (id, description, type) are known. Raises InvalidArgument."""
    for name, values in filters.items():
        if name in facts:
            if not any(facts[name].startswith(value) if name == "id" else facts[name] == value for value in values):
                return False
        elif name in ("shared", "private", "inuse"):
            wanted = is_shared if name == "shared" else not is_shared if name == "private" else False
            if values and not wanted:
                return False
        elif name == "parents":
            raise InvalidArgument("the filter parents is not supported")
    return True


def rows(records: Mapping[str, CacheRecord], shared: Collection[str]) -> list[BuildCache]:
    """The cache as `docker system df` shows it, last used first."""
    return [
        BuildCache(
            id=key,
            description=record.description,
            shared=_is_shared(record, shared),
            size=record.size,
            created_at=time_text(record.created_ns),
            last_used_at=time_text(record.used_ns),
            usage_count=record.uses,
        )
        for key, record in sorted(records.items(), key=lambda item: item[1].used_ns, reverse=True)
    ]
