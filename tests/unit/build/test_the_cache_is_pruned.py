"""Which records of the build cache go, and what a record keeps and loses."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from corten.build.cache import BuildCache, CacheRecord
from corten.build.cache_pruning import Wish, oldest_above, rows, to_prune
from corten.build.cache_upkeep import CacheUpkeep
from corten.build.filesystem import FileSystem, Layer
from corten.spec.oci_image import Descriptor
from corten.store.gc import Node
from corten.store.leases import Leases


class Rows:
    """A table in memory."""

    def __init__(self) -> None:
        self.rows: dict[str, bytes] = {}

    def list(self) -> list[tuple[str, bytes]]:
        return list(self.rows.items())

    def put(self, key: str, value: bytes) -> None:
        self.rows[key] = value

    def delete(self, key: str) -> None:
        self.rows.pop(key, None)


def filesystem(*numbers: int, size: int = 10) -> FileSystem:
    digests = [f"sha256:{number:064x}" for number in numbers]
    return FileSystem(
        layers=tuple(
            Layer(blob=Descriptor(media_type="x", digest=digest, size=1), diff_id=digest, size=size)
            for digest in digests
        )
    )


def record(*numbers: int, used: int, own: int = 1, size: int = 10) -> CacheRecord:
    return CacheRecord(filesystem=filesystem(*numbers, size=size), own_layers=own, used_ns=used, description="RUN x")


RECORDS = {
    "old": record(1, used=1),
    "mid": record(1, 2, used=2),
    "new": record(3, used=3),
    "none": record(used=9, own=0),
}


def test_the_least_recently_used_records_go_until_the_others_fit():
    assert oldest_above(RECORDS, 30) == []
    assert oldest_above(RECORDS, 20) == ["old"]
    assert oldest_above(RECORDS, 10) == ["old", "mid"]
    assert oldest_above(RECORDS, 0) == ["old", "mid", "new", "none"]


def test_records_without_bytes_are_counted():
    assert oldest_above(RECORDS, 30, 4) == []
    assert oldest_above(RECORDS, 30, 3) == ["old"]
    assert oldest_above({str(number): record(used=number, own=0) for number in range(9)}, 30, 2) == list("0123456")


def test_a_layer_of_several_records_counts_once():
    assert oldest_above({"a": record(1, used=1), "b": record(1, used=2)}, 10) == []


def test_a_prune_leaves_what_images_share_unless_all_is_asked_for():
    shared = set(RECORDS["new"].own_chain)
    assert to_prune(RECORDS, Wish(), shared) == ["old", "mid", "none"]
    assert to_prune(RECORDS, Wish(everything=True), shared) == ["old", "mid", "new", "none"]
    assert [row.shared for row in rows(RECORDS, shared)] == [False, True, False, False]


def test_a_prune_by_age_id_and_description():
    assert to_prune(RECORDS, Wish(before_ns=3), set()) == ["old", "mid"]
    assert to_prune(RECORDS, Wish(filters={"id": ["mi"]}), set()) == ["mid"]
    assert to_prune(RECORDS, Wish(filters={"description": ["RUN y"]}), set()) == []
    assert to_prune(RECORDS, Wish(filters={"inuse": ["1"]}), set()) == []


def cache(records: Rows, aliases: Rows, *, here: bool = True) -> BuildCache:
    return BuildCache(records=records, aliases=aliases, is_here=lambda _node: here)


def test_records_and_aliases_live_through_a_restart_and_are_leased_when_found():
    records, aliases, leases = Rows(), Rows(), Leases()
    cache(records, aliases).put("key", filesystem(1), own_layers=1, description="RUN x", alias="quick")
    again = cache(records, aliases)
    with leases.hold([]) as lease:
        found = again.find("quick", lease)
        assert found is not None
        assert (found.key, found.result) == ("key", filesystem(1))
        assert set(filesystem(1).keys()) <= leases.held()
    assert set(again.nodes()) == {
        Node("blob", filesystem(1).layers[0].blob.digest),
        Node("layer", filesystem(1).chain_id),
    }
    assert again.records()["key"].uses == 1


def test_a_record_whose_layers_are_gone_is_forgotten_with_its_aliases():
    records, aliases = Rows(), Rows()
    cache(records, aliases).put("key", filesystem(1), own_layers=1, description="", alias="quick")
    with Leases().hold([]) as lease:
        assert cache(records, aliases, here=False).find("quick", lease) is None
    assert records.rows == {}
    assert aliases.rows == {}


async def test_a_trim_that_fails_is_done_again_after_the_next_build() -> None:
    class Failing(Rows):
        """A table that the disk has no room for, once."""

        is_full = True

        def delete(self, key: str) -> None:
            if self.is_full:
                self.is_full = False
                raise OSError(28, "no space left on device")
            super().delete(key)

    async def nothing(_argument: object) -> list[Node]:
        return []

    cache = BuildCache(records=Failing(), aliases=Rows(), is_here=lambda _node: True)
    for number in (1, 2, 3):
        cache.put(f"k{number}", filesystem(number, size=10), own_layers=1, description="RUN x")
    others: Any = SimpleNamespace(trim=nothing, discard=nothing)
    upkeep = CacheUpkeep(
        cache=cache, caches=others, fetching=others, hashes=others, library=others, events=others, contexts=others,
        limit_bytes=lambda: 10,
    )  # fmt: skip
    with pytest.raises(OSError, match="no space left"):
        await upkeep.trim()
    await upkeep.trim()
    assert list(cache.records()) == ["k3"]
    assert not cache.has_grown
