"""Names, lists, removal and pruning of images that are here, by Docker's rules."""

import asyncio
import json
import time
from dataclasses import replace

import msgspec
import pytest

from corten.engine.images.catalog import ImageNotFound
from corten.errors import Conflict, InvalidArgument
from corten.lib import codec
from corten.spec.oci_image import Manifest
from corten.store.db import RecordTable
from corten.store.gc import Node

from .conftest import collect


async def pulled(engine, registry, name, **options):
    made = registry.add_image(name, **options)
    await collect(engine.transfer.pull(f"{registry.host}/{name}", options.get("tag", "latest")))
    return made


@pytest.fixture
async def two(engine, registry):
    engine.a = await pulled(engine, registry, "a", files=[{"base": b"x"}, {"a": b"a"}])
    engine.b = await pulled(engine, registry, "b", files=[{"base": b"x"}, {"b": b"b"}])
    engine.host = registry.host
    return engine


async def test_an_image_is_found_by_name_id_and_short_id(two):
    for text in (f"{two.host}/a", f"{two.host}/a:latest", two.a.image_id, two.a.image_id[7:], two.a.image_id[7:19]):
        assert two.images.resolve(text).id == two.a.image_id
    assert two.images.resolve(f"{two.host}/a@{two.a.digest}").id == two.a.image_id
    assert two.images.resolve(f"{two.host}/a").reference == f"{two.host}/a:latest"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nope", "No such image: nope:latest"),
        ("nope:1", "No such image: nope:1"),
        ("sha256:" + "0" * 64, "No such image: sha256:" + "0" * 64),
        ("deadbeef", "No such image: deadbeef:latest"),
    ],
)
async def test_what_is_not_here_is_named_as_docker_names_it(two, text, message):
    with pytest.raises(ImageNotFound) as caught:
        two.images.resolve(text)
    assert caught.value.message == message


async def test_an_ambiguous_id_finds_nothing(engine, registry):
    seen = {}
    for number in range(17):
        made = await pulled(engine, registry, f"n{number}", files=[{"f": str(number).encode()}])
        first = made.image_id[7]
        if first in seen:
            with pytest.raises(ImageNotFound):
                engine.images.resolve(first)
            return
        seen[first] = made
    raise AssertionError("sixteen digits cannot hold seventeen beginnings")


async def test_resolving_follows_a_tag_that_moves(two):
    await two.images.tag(two.a.image_id, "x")
    assert two.images.resolve("x").id == two.a.image_id
    await two.images.tag(two.b.image_id, "x")
    assert two.images.resolve("x").id == two.b.image_id
    assert two.actions() == ["pull", "pull", "tag", "tag"]


@pytest.mark.parametrize("repository", ["A", "x@sha256:" + "0" * 64, "", "x:y:z", "sha256:1"])
async def test_bad_names_are_no_tags(two, repository):
    with pytest.raises(InvalidArgument):
        await two.images.tag(two.a.image_id, repository)


async def test_removing_the_last_name_deletes_the_image_and_keeps_shared_layers(two):
    items = await two.images.remove(f"{two.host}/a")
    assert [(i.untagged, i.deleted) for i in items[:3]] == [
        (f"{two.host}/a:latest", ""),
        (f"{two.host}/a@{two.a.digest}", ""),
        ("", two.a.image_id),
    ]
    assert len(items) == 4  # its own top layer; the lower one is b's, too
    assert len(two.layers.tars) == 2
    assert two.a.image_id not in two.digests()
    assert two.images.resolve(f"{two.host}/b").id == two.b.image_id
    assert two.actions()[-3:] == ["untag", "untag", "delete"]
    await two.images.remove(two.b.image_id)
    assert two.digests() == set()
    assert two.layers.tars == {}


async def test_removing_one_of_two_names_only_untags(two):
    await two.images.tag(two.a.image_id, "x", "1")
    items = await two.images.remove("x:1")
    assert [(i.untagged, i.deleted) for i in items] == [("x:1", "")]
    assert two.images.resolve(two.a.image_id)


async def test_an_image_with_names_in_two_repositories_needs_force_by_id(two):
    await two.images.tag(two.a.image_id, "x", "1")
    with pytest.raises(Conflict, match=r"\(must be forced\) - image is referenced in multiple repositories$"):
        await two.images.remove(two.a.image_id)
    items = await two.images.remove(two.a.image_id, force=True)
    assert {i.untagged for i in items if i.untagged} == {
        f"{two.host}/a:latest",
        f"{two.host}/a@{two.a.digest}",
        "x:1",
    }


async def test_a_stopped_container_holds_its_image_unless_forced(two):
    cid = "c" * 64
    two.containers.by_image[two.a.image_id] = [(cid, False, "a")]
    short_id = two.a.image_id[7:19]
    with pytest.raises(Conflict) as caught:
        await two.images.remove(f"{two.host}/a")
    assert caught.value.message == (
        f'conflict: unable to remove repository reference "{two.host}/a" (must force) - container {cid[:12]} '
        f"is using its referenced image {short_id}"
    )
    with pytest.raises(Conflict) as caught:
        await two.images.remove(two.a.image_id)
    assert caught.value.message == (
        f"conflict: unable to delete {short_id} (must be forced) - image is being used by stopped container {cid[:12]}"
    )
    assert await two.images.remove(f"{two.host}/a", force=True)


async def test_layers_under_a_stopped_container_stay_until_it_is_gone(two):
    chain = two.library.catalog.get(two.a.image_id).chain
    two.containers.by_image[two.a.image_id] = [("c" * 64, False, "a")]
    two.layers.containers["c" * 64] = chain[-1]
    await two.images.remove(f"{two.host}/a", force=True)
    with pytest.raises(ImageNotFound):
        two.images.resolve(two.a.image_id)
    await two.images.reap()
    assert set(chain) <= set(two.layers.tars)
    again = two.restarted()
    assert len(again.catalog) == 1
    await again.collect()
    assert set(chain) <= set(two.layers.tars)
    two.containers.by_image.clear()
    two.layers.containers.clear()
    await again.reap()
    assert chain[1] not in two.layers.tars
    assert chain[0] in two.layers.tars  # b's, too
    assert [key for key, _ in two.records.list()] == [two.b.image_id]


async def test_a_running_container_holds_its_image_always(two):
    two.containers.by_image[two.a.image_id] = [("c" * 64, True, "a")]
    with pytest.raises(Conflict, match=r"\(cannot be forced\) - image is being used by running container"):
        await two.images.remove(two.a.image_id, force=True)
    items = await two.images.remove(f"{two.host}/a", force=True)
    assert [item.deleted for item in items] == ["", ""]  # its name and its digest go, it stays
    assert two.images.resolve(two.a.image_id)


async def test_the_last_name_of_an_image_with_children_goes_and_the_image_with_its_last_child(two):
    await two.library.add(
        *await committed_upon(two, two.a.image_id), ["docker.io/library/child:1"], parent=two.a.image_id
    )
    items = await two.images.remove(f"{two.host}/a")
    assert [item.deleted for item in items] == ["", ""]
    with pytest.raises(Conflict, match=r"\(cannot be forced\) - image has dependent child images"):
        await two.images.remove(two.a.image_id, force=True)
    assert [row.repo_tags for row in two.listing.summaries()] == [["child:1"], [f"{two.host}/b:latest"]]
    deleted = [item.deleted for item in await two.images.remove("child:1") if item.deleted]
    assert two.a.image_id in deleted


async def committed_upon(two, image_id):
    """The documents of an image that is `image_id` under another configuration."""
    parent = two.library.catalog.get(image_id)
    image = msgspec.structs.replace(parent.config, comment="child", created="2999-01-01T00:00:00Z")
    raw = codec.encode(image)
    config = msgspec.structs.replace(parent.manifest, digest=two.library.put_blob(raw), size=len(raw))
    document = Manifest(schema_version=2, config=config, layers=list(parent.layers))
    raw = codec.encode(document)
    descriptor = msgspec.structs.replace(parent.manifest, digest=two.library.put_blob(raw), size=len(raw))
    return descriptor, document, image


async def test_what_is_being_read_is_not_deleted_under_the_reader(two):
    async with two.library.lease([two.a.image_id, *two.library.catalog.get(two.a.image_id).chain]):
        await two.images.remove(two.a.image_id)
        assert two.a.image_id in two.digests()
        assert len(two.layers.tars) == 3


async def test_pruning_takes_dangling_images_and_with_all_the_unused(two, registry):
    await pulled(two, registry, "a", files=[{"new": b"1"}])
    two.containers.by_image[two.b.image_id] = [("c" * 64, False, "b")]
    report = await two.images.prune()
    assert {i.deleted for i in report.images_deleted if i.deleted} >= {two.a.image_id}
    assert report.space_reclaimed > 0
    assert len(two.library.catalog) == 2
    report = await two.images.prune({"dangling": ["false"]})
    assert len(two.library.catalog) == 1
    assert (await two.images.prune()).images_deleted is None


@pytest.mark.parametrize(
    ("filters", "text"),
    [
        ({"until": ["bogus"]}, 'failed to parse value as time or duration: "bogus"'),
        ({"until": ["1h", "2h"]}, "more than one until filter specified"),
        ({"dangling": ["true", "false"]}, "invalid filter 'dangling=[true false]'"),
    ],
)
async def test_a_wrong_filter_of_a_prune_is_told_also_when_there_is_nothing_to_prune(engine, filters, text):
    with pytest.raises(InvalidArgument) as caught:
        await engine.images.prune(filters)
    assert caught.value.message == text


async def test_lists_follow_the_filters(two):
    await two.images.tag(two.a.image_id, "x/y", "1")

    def ids(**filters):
        return {row.id for row in two.listing.summaries({k: [v] for k, v in filters.items()})}

    both = {two.a.image_id, two.b.image_id}
    assert ids() == both
    assert ids(reference="x/*") == {two.a.image_id}
    assert ids(reference="x/*:2") == set()
    assert ids(reference="*") == set()
    assert ids(dangling="true") == set()
    assert ids(dangling="false") == both
    assert ids(label="nope") == set()
    assert ids(until=str(int(time.time()))) == both
    with pytest.raises(InvalidArgument, match=r"^invalid filter 'dangling=\[perhaps\]'$"):
        ids(dangling="perhaps")
    with pytest.raises(InvalidArgument, match=r'^failed to parse value as time or duration: "bogus"$'):
        ids(until="bogus")
    assert ids(**{"label!": "nope"}) == both
    with pytest.raises(InvalidArgument, match=r"^syntax error in pattern$"):
        ids(reference="[")
    with pytest.raises(ImageNotFound):
        ids(before="nope")
    (row,) = two.listing.summaries({"reference": ["x/y"]})
    assert row.repo_tags == ["x/y:1"]


async def test_shared_layers_are_counted(two):
    rows = two.listing.summaries(shared_size=True)
    assert all(0 < row.shared_size < row.size for row in rows)


async def test_history_goes_from_the_newest_step(two):
    rows = two.listing.history(two.a.image_id)
    assert [row.created_by for row in rows] == ["layer 1", "layer 0"]
    assert [row.id for row in rows] == [two.a.image_id, "<missing>"]
    assert all(row.size > 0 for row in rows)


async def test_a_damaged_record_does_not_keep_the_others_from_loading(two):
    two.records.put("sha256:" + "0" * 64, b"{")
    two.blobs.remove(two.b.image_id)
    library = two.restarted()
    assert [entry.id for entry in library.catalog] == [two.a.image_id]


@pytest.mark.parametrize(
    ("api", "fields"),
    [
        ((1, 43), {"VirtualSize", "ContainerConfig"}),
        ((1, 44), {"ContainerConfig"}),
        ((1, 45), set()),
        ((1, 48), {"Descriptor"}),
        ((1, 50), {"Descriptor"}),
    ],
)
async def test_each_version_of_the_api_has_its_fields(two, api, fields):
    shown = json.loads(codec.encode(two.listing.inspect(two.a.image_id, api=api)))
    assert {"VirtualSize", "ContainerConfig", "Descriptor", "Container"} & set(shown) == fields
    assert ("Hostname" in shown["Config"]) == (api < (1, 50))
    row = json.loads(codec.encode(two.listing.summaries(api=api)[0]))
    assert {"VirtualSize", "Descriptor"} & set(row) == fields - {"ContainerConfig"}


async def named_again(engine, names):
    entry = engine.library.catalog.get(engine.a.image_id)
    document = codec.decode(Manifest, engine.library.read_blob(entry.manifest.digest, 1 << 20))
    return await engine.library.add(entry.manifest, document, entry.config, names)


async def test_an_image_that_is_added_as_it_is_here_is_only_dated(two):
    before = two.library.catalog.get(two.a.image_id)
    rows = dict(two.records.list())
    after = await named_again(two, before.references)
    assert after.tagged_ns > before.tagged_ns
    assert undated(after) == undated(before)
    assert set(dict(two.records.list())) == set(rows)
    found = two.restarted().catalog.get(two.a.image_id)
    assert (found.references, found.tagged_ns) == (after.references, after.tagged_ns)


async def test_a_date_that_waits_for_its_turn_is_only_a_date_too(two, monkeypatch):
    before = two.library.catalog.get(two.a.image_id)
    written = []
    monkeypatch.setattr(RecordTable, "put_all", lambda _table, records: written.append(records))
    async with two.library._lock:
        task = asyncio.ensure_future(named_again(two, before.references))
        await asyncio.sleep(0.01)
        assert not task.done()
    assert (await task).tagged_ns > before.tagged_ns
    assert written == []


async def test_a_further_name_is_more_than_a_date(two):
    await named_again(two, ["docker.io/library/more:1"])
    assert two.restarted().catalog.get(two.a.image_id).references[-1] == "docker.io/library/more:1"
    await two.images.tag(two.b.image_id, "more:1")
    await named_again(two, ["docker.io/library/more:1"])
    assert two.images.resolve("more:1").id == two.a.image_id == two.restarted().catalog.lookup("more:1")[0].id


async def test_what_images_need_is_not_discarded_and_the_rest_is(two):
    entry = two.library.catalog.get(two.a.image_id)
    stray = two.library.put_blob(b"of nobody")
    keys = [*entry.blobs, *entry.chain, stray]
    nodes = [Node(kind, key) for key in keys for kind in ("blob", "layer")]
    assert await two.library.discard(nodes) == [Node("blob", stray)]
    assert await two.library.discard(nodes) == []
    assert all(two.library.has_node(node) for node in two.library._nodes()[two.a.image_id])


def undated(entry):
    """All of an entry but its date."""
    return replace(entry, tagged_ns=0)
