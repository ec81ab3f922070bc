"""What is deleted by age and for want of space, on a real store: never what has a name or is used, unless told so."""

from __future__ import annotations

import os
import time
from types import SimpleNamespace

import pytest
from tests.unit.build.test_the_cache_is_pruned import Rows

from corten.build.cache import BuildCache
from corten.build.filesystem import FileSystem, Layer
from corten.engine.images.gc_policy import KEEP_S, GcPolicy, GcSettings
from corten.spec.oci_image import Descriptor
from corten.store.watermarks import Marks


class Disk:
    """A file system of 100 kB that holds the blobs, what is on its way, and `other` bytes."""

    def __init__(self, root, other):
        self.root, self.other = root, other

    def measure(self):
        paths = [*(self.root / "blobs/sha256").iterdir(), *(self.root / "ingest").iterdir()]
        return self.other + sum(path.stat().st_size for path in paths), 100_000


@pytest.fixture
def make(engine):
    def build(images="none", other=0, high=90, low=80):
        disk, steps = Disk(engine.root, other), BuildCache(records=Rows(), aliases=Rows(), is_here=lambda _node: True)
        engine.library.kept = steps.nodes
        settings = GcSettings(Marks(high=high, low=low), images)
        policy = GcPolicy(
            settings=settings, library=engine.library, images=engine.images, pending=engine.blobs,
            steps=steps, events=engine.events, measure=disk.measure,
        )  # fmt: skip
        return SimpleNamespace(policy=policy, disk=disk, steps=steps)

    return build


def put(engine, data):
    return engine.library.put_blob(data)


def broken(engine, size, age_s=0):
    ingest = engine.blobs.ingest(f"broken-{size}")
    ingest.write(bytes(size))
    ingest.close()
    for name in engine.ingests():
        path = engine.root / "ingest" / name
        if path.stat().st_size == size:
            os.utime(path, (time.time() - age_s,) * 2)


async def pull(engine, registry, name="demo", size=1000):
    registry.add_image(name, files=[{"f": os.urandom(size)}])
    async for _ in engine.transfer.pull(f"{registry.host}/{name}", "latest"):
        pass
    return engine.library.catalog.lookup(f"{registry.host}/{name}")[0]


async def test_what_broken_pulls_left_goes_by_age(engine, make):
    put(engine, b"young")
    old = put(engine, b"old")
    os.utime(engine.blobs.path(old), (time.time() - KEEP_S - 60,) * 2)
    broken(engine, 10, age_s=KEEP_S + 60)
    broken(engine, 20)
    await make().policy.check()
    assert old not in engine.digests()
    assert len(engine.digests()) == len(engine.ingests()) == 1
    assert "gc" not in engine.actions()


async def test_above_the_high_mark_the_oldest_leftovers_go_first(engine, make, registry):
    entry = await pull(engine, registry)
    broken(engine, 9_000, age_s=3600)
    broken(engine, 8_000)
    leftover = put(engine, b"left")
    made = make(other=80_000 - 5_000)
    assert made.disk.measure()[0] > 90_000
    assert await made.policy.check() >= 9_000
    assert leftover in engine.digests()
    assert engine.ingests() == []
    assert set(entry.blobs) <= engine.digests()
    event = engine.events.past()[-1]
    assert (event.kind, event.action) == ("daemon", "gc")
    assert "high-water" in event.attributes["reason"]


async def test_steps_of_builds_go_the_least_lately_used_first_but_what_images_share(engine, make, registry):
    entry = await pull(engine, registry)
    made = make(low=85)
    for number in range(3):
        digest = put(engine, bytes([number]) * 3000)
        layer = Layer(blob=Descriptor(media_type="x", digest=digest, size=3000), diff_id=digest)
        made.steps.put(str(number), FileSystem(layers=(layer,)), own_layers=1, description="")
    shared = [Layer(blob=blob, diff_id=diff) for blob, diff in zip(entry.layers, entry.config.diff_ids, strict=True)]
    made.steps.put("shared", FileSystem(layers=tuple(shared)), own_layers=len(shared), description="")
    made.disk.other = 91_000 - made.disk.measure()[0]
    await made.policy.check()
    assert list(made.steps.records()) == ["2", "shared"]
    assert set(entry.blobs) <= engine.digests()
    assert made.disk.measure()[0] == 85_000


@pytest.mark.parametrize(("images", "left"), [("none", 3), ("dangling", 2), ("unused", 1)])
async def test_images_go_only_as_configured_and_never_what_is_used(engine, make, registry, images, left):
    dangling = await pull(engine, registry, "dangling", 3000)
    await engine.library.unname(dangling.id, dangling.references)
    used = await pull(engine, registry, "used")
    await pull(engine, registry, "named")
    engine.containers.by_image[used.id] = [("c" * 64, False, "used")]
    await make(images, other=99_000).policy.check()
    assert len(engine.library.catalog) == left
    assert engine.library.catalog.get(used.id) is not None


async def test_what_is_being_brought_or_read_is_left_alone(engine, make):
    digest = put(engine, b"leased")
    ingest = engine.blobs.ingest("writing")
    ingest.write(bytes(100))
    async with engine.library.lease([digest]):
        await make(other=99_000).policy.check()
        assert digest in engine.digests()
    assert len(engine.ingests()) == 1
    ingest.abort()
    await make(other=99_000).policy.check()
    assert digest not in engine.digests()


async def test_marks_may_be_turned_off(engine, make):
    digest = put(engine, b"left")
    assert await make(other=99_900, high=0, low=0).policy.check() == 0
    assert digest in engine.digests()
