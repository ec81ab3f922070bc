"""Images of several platforms: every digest survives save, load and pull, and each platform is told and taken apart."""

import gzip
import json

import pytest

from corten.engine.images.catalog import ImageNotFound
from corten.engine.images.removal import ImageInUse
from corten.errors import CortenError
from corten.spec.platform import host_platform
from corten.testing.indexes import files_of, make_index
from corten.testing.made_images import digest_of
from corten.testing.registry import FakeRegistry

from .conftest import body_of, collect

HOST = str(host_platform())
OTHER = "linux/s390x"
ENDS = ("Pushed", "Layer already exists")
NAME = "example.test/team/app:1"


@pytest.fixture(params=["gzip", "zstd", ""])
def compression(request):
    return request.param


def index_of(compression="gzip"):
    return make_index(
        {
            HOST: [{"who": b"host"}, {"etc/more": b"1"}],
            OTHER: [{"who": b"other"}],
            "linux/arm/v6": [{"who": b"v6"}],
            "linux/arm/v7": [{"who": b"v7"}],
        },
        compression=compression,
    )


async def load(engine, data, *platforms):
    return await collect(engine.transfer.load(body_of(data), platforms=platforms))


async def saved(engine, *names, platforms=()):
    return b"".join([chunk async for chunk in await engine.transfer.save(list(names), platforms=platforms)])


def blobs_of(archive):
    files = files_of(archive)
    return {f"sha256:{name[13:]}": data for name, data in files.items() if name.startswith("blobs/sha256/")}


async def test_load_and_save_keep_every_digest_of_an_index(engine, make_engine, compression):
    made = index_of(compression)
    await load(engine, made.layout(NAME))
    out = await saved(engine, NAME)
    assert blobs_of(out) == made.blobs
    (entry,) = json.loads(files_of(out)["index.json"])["manifests"]
    assert (entry["digest"], entry["size"]) == (made.digest, len(made.raw))
    second = make_engine("second")
    await load(second, gzip.compress(out))
    assert blobs_of(await saved(second, NAME)) == made.blobs
    assert second.listing.inspect(NAME).id == made.image_id(HOST)
    assert second.listing.inspect(NAME).descriptor.digest == made.digest


async def test_a_pull_brings_one_platform_with_its_attestation_and_tells_of_the_others(engine, registry):
    made = index_of()
    made.serve(registry, "app")
    await collect(engine.transfer.pull(f"{registry.host}/app", "latest"))
    name = f"{registry.host}/app:latest"
    assert engine.listing.inspect(name).repo_digests == [f"{registry.host}/app@{made.digest}"]
    rows = {row.id: row for row in await engine.listing.inspect_manifests(name)}
    assert list(rows) == [*made.manifests.values(), *made.attestations.values()]
    here, there = rows[made.manifests[HOST]], rows[made.manifests[OTHER]]
    assert (here.kind, here.available) == ("image", True)
    assert (there.kind, there.available, there.size.total) == ("image", False, 0)
    assert there.image_data.platform.architecture == "s390x"
    proof = rows[made.attestations[HOST]]
    assert (proof.kind, proof.available) == ("attestation", True)
    assert proof.attestation_data.about == made.manifests[HOST]
    assert not rows[made.attestations[OTHER]].available


async def test_a_list_tells_the_size_and_the_users_of_each_platform(engine):
    made = index_of()
    await load(engine, made.layout(NAME))
    engine.containers.by_image[made.image_id(HOST)] = [("c" * 64, True, NAME)]
    rows = engine.listing.summaries()
    assert rows[0].descriptor.digest == made.digest
    await engine.listing.with_manifests(rows)
    by_id = {row.id: row for row in rows[0].manifests}
    host, other = by_id[made.manifests[HOST]], by_id[made.manifests[OTHER]]
    assert (host.image_data.containers, other.image_data.containers) == (["c" * 64], [])
    assert host.size.content == sum(len(made.blobs[digest]) for digest in made.belonging(HOST))
    assert host.size.total == host.size.content + host.image_data.size["Unpacked"]
    assert other.size.total == sum(len(made.blobs[digest]) for digest in made.belonging(OTHER))
    assert (
        rows[0].size
        == sum(len(data) for d, data in made.blobs.items() if d != made.digest) + (host.image_data.size["Unpacked"])
    )


async def test_one_platform_is_saved_as_its_manifest_alone(engine):
    made = index_of()
    await load(engine, made.layout(NAME))
    out = await saved(engine, NAME, platforms=[OTHER])
    assert set(blobs_of(out)) == made.belonging(OTHER)
    (entry,) = json.loads(files_of(out)["index.json"])["manifests"]
    assert entry["digest"] == made.manifests[OTHER]


async def test_of_several_platforms_the_index_is_saved_with_their_attestations(engine, make_engine):
    made = index_of()
    await load(engine, made.layout(NAME))
    out = await saved(engine, NAME, platforms=[HOST, "linux/arm/v6"])
    found = set(blobs_of(out))
    assert found >= made.belonging(HOST) | made.belonging("linux/arm/v6") | {made.digest}
    assert made.attestations[HOST] in found
    assert not found & made.belonging("linux/arm/v7")
    assert made.attestations[OTHER] not in found
    again = make_engine("again")
    await load(again, out)
    assert set(blobs_of(await saved(again, NAME))) == found


async def test_a_platform_that_is_not_here_is_told(engine):
    await load(engine, index_of().layout(NAME))
    with pytest.raises(ImageNotFound, match=r"was found but does not provide the specified platform \(linux/386\)$"):
        await saved(engine, NAME, platforms=["linux/386"])


@pytest.mark.parametrize(
    ("platforms", "own", "kept"),
    [
        ([OTHER], OTHER, {OTHER}),
        (["linux/arm"], "linux/arm/v7", {"linux/arm/v7"}),
        (["linux/arm/v6"], "linux/arm/v6", {"linux/arm/v6"}),
        (["linux/arm/v8"], "linux/arm/v7", {"linux/arm/v7"}),
        ([OTHER, HOST], HOST, {OTHER, HOST}),
    ],
)
async def test_only_the_platforms_that_were_asked_for_are_loaded(engine, platforms, own, kept):
    made = index_of()
    await load(engine, made.layout(NAME), *platforms)
    assert engine.listing.inspect(NAME).id == made.image_id(own)
    found = engine.digests()
    for name in made.manifests:
        assert (made.belonging(name) <= found) == (name in kept)
        assert (made.attestations[name] in found) == (name in kept)


async def test_a_platform_that_an_archive_lacks_is_told_and_leaves_nothing(engine):
    with pytest.raises(CortenError, match="no matching manifest for linux/386 in the manifest list entries"):
        await load(engine, index_of().layout(NAME), "linux/386")
    assert engine.digests() == set()


async def test_two_names_of_one_index_are_two_names_of_one_image(engine):
    made = index_of()
    await load(engine, made.layout(NAME, "example.test/team/app:2"))
    assert engine.listing.inspect(made.image_id(HOST)).repo_tags == [NAME, "example.test/team/app:2"]
    out = await saved(engine, "example.test/team/app")
    assert [e["digest"] for e in json.loads(files_of(out)["index.json"])["manifests"]] == [made.digest] * 2


async def test_a_damaged_manifest_of_another_platform_is_refused(engine):
    made = index_of()
    layout = made.layout(NAME)
    wrong = layout.replace(made.blobs[made.manifests[HOST]], made.blobs[made.manifests[HOST]].swapcase())
    assert wrong != layout
    with pytest.raises(CortenError, match="manifest verification failed"):
        await load(engine, wrong)
    assert digest_of(made.raw) not in engine.digests()


async def test_a_platform_is_taken_away_and_the_others_stay(engine):
    made = index_of()
    await load(engine, made.layout(NAME))
    items = await engine.images.remove_platforms(NAME, [OTHER, "linux/arm/v6"])
    assert [item.deleted for item in items] == [made.manifests[OTHER], made.manifests["linux/arm/v6"]]
    found = engine.digests()
    for name in made.manifests:
        kept = name in (HOST, "linux/arm/v7")
        assert bool(made.belonging(name) & found) == kept
        assert (made.attestations[name] in found) == kept
    assert engine.listing.inspect(NAME).descriptor.digest == made.digest
    rows = {row.id: row.available for row in await engine.listing.inspect_manifests(NAME)}
    assert rows[made.manifests[HOST]]
    assert not rows[made.manifests[OTHER]]
    again = engine.restarted()
    assert again.catalog.lookup(NAME)[0].id == made.image_id(HOST)
    with pytest.raises(ImageNotFound, match=r"does not provide the specified platform \(linux/s390x\)$"):
        await engine.images.remove_platforms(NAME, [OTHER])


async def test_the_images_own_platform_goes_last_and_the_name_with_it(engine):
    made = index_of()
    await load(engine, made.layout(NAME))
    with pytest.raises(ImageInUse, match=r"\(cannot be forced\) - image .* is kept for this platform$"):
        await engine.images.remove_platforms(NAME, [HOST])
    assert len(engine.digests()) == len(made.blobs)
    await engine.images.remove_platforms(NAME, [OTHER, "linux/arm/v6", "linux/arm/v7"])
    items = await engine.images.remove_platforms(NAME, [HOST])
    assert items[0].untagged == NAME
    assert engine.digests() == set()


async def test_blobs_that_two_platforms_share_stay_with_the_other_one(engine):
    made = make_index({HOST: [{"a": b"1"}], OTHER: [{"shared": b"x"}], "linux/386": [{"shared": b"x"}]})
    await load(engine, made.layout(NAME))
    await engine.images.remove_platforms(NAME, [OTHER])
    assert made.belonging("linux/386") <= engine.digests()


async def test_a_push_tells_of_the_layers_of_what_is_pushed_whatever_their_compression(engine):
    plain, packed = index_of(""), index_of("gzip")  # the same image, under two manifests
    assert plain.image_id(HOST) == packed.image_id(HOST)
    with FakeRegistry() as target:
        name = f"{target.host}/app"
        for tag, made in (("plain", plain), ("packed", packed)):
            await load(engine, made.layout(f"{name}:{tag}"))
        await engine.images.remove_platforms(f"{name}:packed", [OTHER])  # from here on it is not whole
        for tag, pushed in (("plain", plain.digest), ("packed", packed.manifests[HOST])):
            told = await collect(engine.transfer.push(name, tag))
            assert target.manifests[("app", tag)][1] == {**plain.blobs, **packed.blobs}[pushed]
            assert [m.status for m in told if m.id and m.status in ENDS] == ["Pushed", "Pushed"]
        told = await collect(engine.transfer.push(name, "plain", platform="linux/arm/v6"))
        assert [m.status for m in told if m.id and m.status in ENDS] == ["Layer already exists"]
