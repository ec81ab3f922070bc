"""A client goes away while a change of the images is written: memory and disk say the same, now and later."""

import asyncio
import threading

import pytest

from .conftest import collect


class Held:
    """A table whose writes wait until they are let go."""

    def __init__(self, table):
        self._table = table
        self.reached, self.go = threading.Event(), threading.Event()

    def __getattr__(self, name):
        return getattr(self._table, name)

    def _held(self, call, *args):
        self.reached.set()
        assert self.go.wait(30)
        return call(*args)

    def put_all(self, rows):
        self._held(self._table.put_all, rows)

    def delete(self, key):
        self._held(self._table.delete, key)


async def cancelled_while_held(table, work):
    """Cancel `work` in the middle of its write, and only then let that go on."""
    task = asyncio.ensure_future(work)
    await asyncio.to_thread(table.reached.wait, 30)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    table.go.set()
    with pytest.raises(asyncio.CancelledError):
        await task


def same(engine):
    """What is remembered is what a restart finds."""
    found = engine.restarted().catalog
    assert {e.id: sorted(e.references) for e in engine.library.catalog} == {e.id: sorted(e.references) for e in found}
    return found


@pytest.fixture
def hold(engine):
    def begin():
        engine.library._records = table = Held(engine.records)
        return table

    return begin


async def test_at_the_end_of_a_pull(engine, registry, hold):
    made = registry.add_image("demo")
    await cancelled_while_held(hold(), collect(engine.transfer.pull(f"{registry.host}/demo", "latest")))
    assert same(engine).get(made.image_id) is not None
    await engine.library.collect()
    assert all(engine.library.read_blob(d, 1 << 20) for d in engine.library.catalog.get(made.image_id).blobs)
    assert not engine.library._leases.held()


async def test_at_a_removal(engine, registry, hold):
    made = registry.add_image("demo")
    await collect(engine.transfer.pull(f"{registry.host}/demo", "latest"))
    await cancelled_while_held(hold(), engine.images.remove(made.image_id, force=True))
    assert same(engine).get(made.image_id) is None
    assert (engine.digests(), engine.layers.layers()) == (set(), {})


async def test_at_a_new_name(engine, registry, hold):
    made = registry.add_image("demo")
    await collect(engine.transfer.pull(f"{registry.host}/demo", "latest"))
    await cancelled_while_held(hold(), engine.images.tag(made.image_id, "other", "1"))
    same(engine)
    assert engine.images.resolve("other:1").id == made.image_id
