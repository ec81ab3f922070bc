"""Layers that are unpacked while they arrive, shared by pulls, and brought in several ranges at once."""

import asyncio
import gzip
import json
import random
import threading

import pytest

from corten.engine.images.arrival import Arrivals
from corten.errors import CortenError, DataLoss
from corten.registry import blob
from corten.spec.digest import short
from corten.store import pieces
from corten.testing.made_images import LAYER_GZIP, digest_of, tar_of
from corten.testing.registry import Fault

from .conftest import collect, words

_NOISE = random.Random(7).randbytes(3_000_000)


def eager(engine):
    """Layers of any size are unpacked while they arrive."""
    engine.transfer._arrivals = Arrivals(engine.library, early_from=1)
    engine.transfer._puller._arrivals = engine.transfer._arrivals
    return engine


@pytest.fixture
def small_ranges(monkeypatch):
    monkeypatch.setattr(blob, "RANGES_FROM", 1_000_000)
    monkeypatch.setattr(pieces, "_SMALLEST", 200_000)


class Watched:
    """A layer store that tells how far it has read."""

    def __init__(self, layers, wanted):
        self._layers, self._wanted = layers, wanted
        self.reached = threading.Event()
        self.applied = []

    def apply(self, chain_id, parent, stream):
        reached, wanted, seen = self.reached, self._wanted, 0

        class Reader:
            def read(self, size=-1):
                nonlocal seen
                data = stream.read(size)
                seen += len(data)
                if seen >= wanted:
                    reached.set()
                return data

        self._layers.apply(chain_id, parent, Reader())
        self.applied.append(chain_id)

    def __getattr__(self, name):
        return getattr(self._layers, name)


def watched(engine, wanted):
    engine.library._layers = Watched(engine.layers, wanted)
    return engine.library._layers


async def pull(engine, registry, tag="latest"):
    return await collect(engine.transfer.pull(f"{registry.host}/demo", tag))


async def reached(event):
    assert await asyncio.to_thread(event.wait, 30)


async def test_a_layer_is_unpacked_while_its_end_has_not_come(engine, registry):
    image = registry.add_image("demo", files=[{"a": _NOISE}, {"b": b"top"}])
    layer = digest_of(image.layers[0])
    gate = registry.gate(layer, 2_500_000)
    layers = watched(eager(engine), 1_500_000)
    task = asyncio.ensure_future(pull(engine, registry))
    await reached(layers.reached)
    assert registry.served[layer] <= 2_500_000
    assert layers.applied == []
    gate.set()
    said = await task
    assert len(layers.applied) == 2
    item = short(layer)
    mine = [message.status for message in said if message.id == item]
    order = [status for number, status in enumerate(mine) if number == 0 or mine[number - 1] != status]
    assert order == [
        "Pulling fs layer", "Downloading", "Verifying Checksum", "Download complete", "Extracting", "Pull complete",
    ]  # fmt: skip


async def test_no_layer_is_visible_when_the_last_byte_is_wrong(engine, registry):
    image = registry.add_image("demo", files=[{"a": _NOISE}])
    layer = digest_of(image.layers[0])
    registry.blobs[layer] = registry.blobs[layer][:-1] + bytes([registry.blobs[layer][-1] ^ 1])
    with pytest.raises(DataLoss, match="wanted sha256"):
        await pull(eager(engine), registry)
    assert engine.layers.tars == {}
    assert engine.digests() == set()
    assert engine.ingests() == []


async def test_bytes_behind_the_compressed_end_are_not_overlooked(engine, registry):
    """The tar is right and complete before the digest is known to be wrong."""
    image = registry.add_image("demo", files=[{"a": _NOISE}])
    layer = digest_of(image.layers[0])
    document = json.loads(image.manifest)
    longer = image.layers[0] + bytes(1000)
    document["layers"][0] |= {"size": len(longer)}
    registry.blobs[layer] = longer
    registry.add_manifest("demo", "latest", json.dumps(document).encode())
    with pytest.raises(DataLoss, match="wanted sha256"):
        await pull(eager(engine), registry)
    assert engine.layers.tars == {}


async def test_a_layer_that_was_damaged_once_is_unpacked_anew(engine, registry):
    image = registry.add_image("demo", files=[{"a": _NOISE}])
    layer = digest_of(image.layers[0])
    registry.faults.append(Fault(path=layer, corrupt=True))
    await pull(eager(engine), registry)
    assert engine.images.resolve(f"{registry.host}/demo").id == image.image_id
    assert registry.served[layer] == 2 * len(image.layers[0])


async def test_a_layer_waits_for_its_parent_and_its_bytes_do_not(engine, registry):
    image = registry.add_image("demo", files=[{"a": _NOISE}, {"b": _NOISE[::-1]}])
    below, above = (digest_of(layer) for layer in image.layers)
    gate = registry.gate(below, 100_000)
    layers = watched(eager(engine), 10_000_000)
    task = asyncio.ensure_future(pull(engine, registry))
    while registry.served[above] < len(image.layers[1]):
        await asyncio.sleep(0.01)
    assert layers.applied == []
    gate.set()
    await task
    assert engine.images.resolve(f"{registry.host}/demo").id == image.image_id


async def test_a_follower_takes_over_when_the_one_it_follows_is_cancelled(engine, registry):
    image = registry.add_image("demo", files=[{"a": _NOISE}])
    layer = digest_of(image.layers[0])
    gate = registry.gate(layer, 2_000_000)
    layers = watched(eager(engine), 1_000_000)
    first = asyncio.ensure_future(pull(engine, registry))
    await reached(layers.reached)
    second = engine.transfer.pull(f"{registry.host}/demo", "latest")
    said = []
    async for message in second:
        said.append(message)
        if message.status == "Pulling fs layer":
            break
    await asyncio.sleep(0.05)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert engine.layers.tars == {}
    gate.set()
    said += await collect(second)
    assert (short(layer), "Pull complete") in words(said)
    assert engine.images.resolve(f"{registry.host}/demo").id == image.image_id
    starts = [h.get("Range") for m, path, h in registry.requests if m == "GET" and layer in path]
    assert len(starts) == 2
    assert starts[0] is None
    taken_up = int(starts[1].removeprefix("bytes=").removesuffix("-"))
    assert 1_000_000 < taken_up <= 2_000_000


async def test_a_follower_sees_the_progress_of_the_one_it_follows(engine, registry):
    image = registry.add_image("demo", files=[{"a": _NOISE}])
    layer = digest_of(image.layers[0])
    gate = registry.gate(layer, 200_000)
    first = asyncio.ensure_future(pull(engine, registry))
    while not registry.served[layer]:
        await asyncio.sleep(0.01)
    second = asyncio.ensure_future(pull(engine, registry))
    await asyncio.sleep(0.3)
    gate.set()
    for said in await asyncio.gather(first, second):
        assert {"Downloading", "Verifying Checksum", "Download complete", "Pull complete"} <= {m.status for m in said}
    assert registry.served[layer] == len(image.layers[0])


async def test_a_large_layer_comes_in_ranges_at_once_and_no_byte_twice(engine, registry, small_ranges):
    image = registry.add_image("demo", files=[{"a": _NOISE}])
    layer, size = digest_of(image.layers[0]), len(image.layers[0])
    gate = registry.gate(layer, 1_000_000)
    task = asyncio.ensure_future(pull(eager(engine), registry))
    while registry.most_at_once < 3:
        await asyncio.sleep(0.01)
    gate.set()
    await task
    assert engine.images.resolve(f"{registry.host}/demo").id == image.image_id
    assert registry.served[layer] == size
    assert registry.most_at_once == 3
    assert engine.ingests() == []


async def test_no_more_downloads_run_than_allowed(engine, registry, small_ranges):
    registry.add_image("demo", files=[{"a": _NOISE}, {"b": _NOISE[1:]}, {"c": _NOISE[2:]}])
    await pull(engine, registry)
    assert registry.most_at_once <= 3


async def test_how_many_downloads_are_allowed_may_change_while_the_daemon_runs(engine, registry, small_ranges):
    registry.add_image("demo", files=[{"a": _NOISE}, {"b": _NOISE[1:]}])
    engine.transfer.limit(max_downloads=1, max_uploads=1)
    await pull(engine, registry)
    assert registry.most_at_once == 1


async def test_ranges_go_on_after_a_pull_was_given_up(engine, registry, small_ranges):
    image = registry.add_image("demo", files=[{"a": _NOISE}])
    layer, size = digest_of(image.layers[0]), len(image.layers[0])
    gate = registry.gate(layer, 1_500_000)
    first = asyncio.ensure_future(pull(eager(engine), registry))
    while registry.served[layer] < 1_500_000:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    gate.set()
    again = engine.library.ingest(f"layer-{layer.replace(':', '-')}")
    lost = 1_500_000 - again.arrived  # sent, but not read before the end
    assert lost < 500_000
    again.close()
    await pull(engine, registry)
    assert engine.images.resolve(f"{registry.host}/demo").id == image.image_id
    late = registry.served[layer] - size - lost
    assert late <= 3 * (64 << 10)  # what was on its way to a connection that was closed


async def test_a_registry_without_ranges_serves_the_whole_blob_once(engine, registry, small_ranges):
    registry.ranges = False
    image = registry.add_image("demo", files=[{"a": _NOISE}])
    layer = digest_of(image.layers[0])
    await pull(eager(engine), registry)
    assert engine.images.resolve(f"{registry.host}/demo").id == image.image_id
    assert (registry.served[layer], registry.count("GET", layer)) == (len(image.layers[0]), 1)


async def test_a_registry_that_stops_giving_ranges_is_followed(engine, registry, small_ranges):
    image = registry.add_image("demo", files=[{"a": _NOISE}])
    layer = digest_of(image.layers[0])
    registry.faults += [
        Fault(path=layer, drip=50_000, times=4),
        Fault(path=layer, cut_after=50_000, ignore_range=True, times=2),
        Fault(path=layer, ignore_range=True, times=99),
    ]
    await pull(eager(engine), registry)
    assert engine.images.resolve(f"{registry.host}/demo").id == image.image_id


async def test_a_range_that_breaks_off_is_taken_up_where_it_ended(engine, registry, small_ranges):
    image = registry.add_image("demo", files=[{"a": _NOISE}])
    layer = digest_of(image.layers[0])
    registry.faults += [Fault(path=layer, cut_after=cut) for cut in (100_000, 3, 0, 199_999, 60_000, 1)]
    await pull(eager(engine), registry)
    assert registry.served[layer] == len(image.layers[0])
    assert engine.images.resolve(f"{registry.host}/demo").id == image.image_id


async def test_ranges_of_another_blob_are_refused(engine, registry, small_ranges):
    image = registry.add_image("demo", files=[{"a": _NOISE}])
    layer = digest_of(image.layers[0])
    lie = {"Content-Range": "bytes 0-199999/99999999"}
    registry.faults.append(Fault(path=layer, headers=lie, times=99))
    with pytest.raises(CortenError, match="99999999 bytes, expected"):
        await pull(eager(engine), registry)
    assert engine.layers.tars == {}


async def test_layers_with_the_same_blob_are_fetched_once(engine, registry):
    image = registry.add_image("demo", files=[{"a": b"x" * 9999}])
    config, document = json.loads(image.config), json.loads(image.manifest)
    config["rootfs"]["diff_ids"] *= 3
    config["history"] *= 3
    raw = json.dumps(config).encode()
    document["config"] |= {"digest": registry.add_blob("demo", raw), "size": len(raw)}
    entry = {"mediaType": LAYER_GZIP, "digest": digest_of(image.layers[0]), "size": len(image.layers[0])}
    document["layers"] = [entry] * 3
    registry.add_manifest("demo", "latest", json.dumps(document).encode())
    await pull(eager(engine), registry)
    assert len(engine.layers.tars) == 3
    assert registry.served[entry["digest"]] == entry["size"]


async def test_a_blob_that_comes_for_a_layer_that_is_here_is_that_layer(engine, registry):
    """Two images have one layer; of a third one its configuration says so, and its manifest names another blob."""
    registry.add_image("demo", "first", files=[{"a": b"1"}])
    await pull(engine, registry, "first")
    tar = tar_of({"a": b"1"})
    honest = registry.add_image("demo", "honest", files=[{"a": b"1"}], config={"Cmd": ["/honest"]})
    lying = registry.add_image("demo", "lying", files=[{"a": b"1"}], config={"Cmd": ["/lying"]})
    for tag, image, blob_bytes in (
        ("honest", honest, gzip.compress(tar, 1, mtime=1)),
        ("lying", lying, gzip.compress(tar_of({"a": b"evil"}))),
    ):
        registry.add_blob("demo", blob_bytes)
        manifest = json.loads(image.manifest)
        manifest["layers"][0] |= {"digest": digest_of(blob_bytes), "size": len(blob_bytes)}
        registry.add_manifest("demo", tag, json.dumps(manifest).encode())
    await pull(engine, registry, "honest")
    with pytest.raises(DataLoss):
        await pull(engine, registry, "lying")
    assert digest_of(lying.config) not in engine.digests()
