"""The build cache: results of steps by cache key, in SQLite, and what of the store they keep. Daemon's loop.

A record is written after its layers are on disk for good, so that a daemon that is killed goes on from the last step
that was finished; one whose layers are gone is no record. Layers and blobs are not held here but named to the images'
collector (`nodes`), which deletes what nothing names any more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Protocol

import msgspec

from corten.build.filesystem import FileSystem, Layer
from corten.build.solver import Found
from corten.lib import codec
from corten.lib.faultpoint import reach
from corten.store.gc import Node
from corten.store.leases import Lease


class Table(Protocol):
    """Rows of one kind (store.db.RecordTable)."""

    def list(self) -> Iterable[tuple[str, bytes]]:
        """All of them."""

    def put(self, key: str, value: bytes) -> None:
        """Write one."""

    def delete(self, key: str) -> None:
        """Remove one."""


class CacheRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One step's result. `own_layers` is how many layers are the step's own: 0, or 1 on top."""

    filesystem: FileSystem
    own_layers: int = 0
    description: str = ""
    created_ns: int = 0
    used_ns: int = 0
    uses: int = 0

    @property
    def size(self) -> int:
        """Bytes of the step's own files."""
        return sum(layer.size for layer in self.filesystem.layers[-self.own_layers :]) if self.own_layers else 0

    @property
    def blob_size(self) -> int:
        """Bytes of the blobs of the step's own layers."""
        return sum(layer.blob.size for layer in self.filesystem.layers[-self.own_layers :]) if self.own_layers else 0

    @property
    def own_chain(self) -> list[str]:
        """The chainIDs of the step's own layers."""
        return self.filesystem.chain[-self.own_layers :] if self.own_layers else []

    def nodes(self) -> list[Node]:
        """What it keeps."""
        return self.filesystem.nodes()


class BuildCache:
    """All records; `is_here` tells whether a blob or layer is in the store."""

    def __init__(self, *, records: Table, aliases: Table, is_here: Callable[[Node], bool]) -> None:
        self._record_table = records
        self._alias_table = aliases
        self._is_here = is_here
        self._records = _shared({key: codec.decode(CacheRecord, raw) for key, raw in records.list()})
        self._aliases = {key: raw.decode() for key, raw in aliases.list()}
        self._replaced: list[Node] = []
        self.has_grown = True  # since that was last set back, by whoever keeps it below its limit

    def nodes(self) -> Collection[Node]:
        """What must not be deleted, for the collector."""
        return {node for record in self._records.values() for node in record.nodes()}

    def records(self) -> dict[str, CacheRecord]:
        """All records, by key."""
        return dict(self._records)

    def idle(self, shared: Collection[str]) -> list[tuple[str, int, float]]:
        """(key, bytes of its own, time of the last use) of each record that has layers, none of them in `shared`."""
        return [
            (key, record.size + record.blob_size, record.used_ns / 1e9)
            for key, record in self._records.items()
            if record.own_layers and not any(chain_id in shared for chain_id in record.own_chain)
        ]

    def peek(self, key: str) -> FileSystem | None:
        """The result under a key, without using it."""
        record = self._records.get(self._aliases.get(key, key))
        return None if record is None else record.filesystem

    def find(self, key: str, lease: Lease) -> Found | None:
        """The result under a key, leased from here on; a record whose content is gone is forgotten."""
        own_key = self._aliases.get(key, key)
        record = self._records.get(own_key)
        if record is None:
            return None
        lease.add(*record.filesystem.keys())
        if not all(map(self._is_here, record.nodes())):
            self.forget([own_key])
            return None
        self._write(own_key, msgspec.structs.replace(record, used_ns=time.time_ns(), uses=record.uses + 1))
        return Found(own_key, record.filesystem)

    def put(self, key: str, filesystem: FileSystem, *, own_layers: int, description: str, alias: str = "") -> None:
        """Record a result whose layers are on disk, also under the `alias`, which is a quicker way to the key."""
        reach("build.step.done")
        now = time.time_ns()
        self.has_grown = True
        old = self._records.get(key)
        self._replaced += old.nodes() if old is not None else []
        self._write(
            key,
            CacheRecord(
                filesystem=filesystem,
                own_layers=own_layers,
                description=description,
                created_ns=now,
                used_ns=now,
            ),
        )
        self.alias(alias, key)
        reach("build.step.recorded")

    def alias(self, alias: str, key: str) -> None:
        """Let `alias` lead to the record of `key` from now on; an empty one is none."""
        if alias and self._aliases.get(alias) != key:
            self._alias_table.put(alias, key.encode())
            self._aliases[alias] = key

    def take_replaced(self) -> list[Node]:
        """What records kept that others have replaced since the last call, for the collector to look at."""
        replaced, self._replaced = self._replaced, []
        return replaced

    def forget(self, keys: Sequence[str]) -> list[Node]:
        """Remove records; returns what they kept, for the collector to look at."""
        nodes: list[Node] = []
        for key in keys:
            record = self._records.pop(key, None)
            if record is not None:
                nodes += record.nodes()
                self._record_table.delete(key)
        for alias in [alias for alias, key in self._aliases.items() if key not in self._records]:
            self._alias_table.delete(alias)
            del self._aliases[alias]
        return list(dict.fromkeys(nodes))

    def _write(self, key: str, record: CacheRecord) -> None:
        self._record_table.put(key, codec.encode(record))
        self._records[key] = record


def _shared(records: dict[str, CacheRecord]) -> dict[str, CacheRecord]:
    """Records that have one object for one layer, as those of a running build do: each has all below it."""
    known: dict[tuple[str, str, str, str, int], Layer] = {}

    def shared(layer: Layer) -> Layer:
        return known.setdefault((layer.blob.digest, layer.diff_id, layer.key, layer.created, layer.size), layer)

    return {
        key: msgspec.structs.replace(record, filesystem=FileSystem(layers=tuple(map(shared, record.filesystem.layers))))
        for key, record in records.items()
    }
