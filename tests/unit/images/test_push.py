"""Pushing: what the registry has is not sent, what it can mount is mounted, and the digests stay the same."""

import gzip
import json

import pytest

from corten.engine.images.origins import BlobOrigins
from corten.errors import CortenError, NotFound
from corten.registry.credentials import Credentials
from corten.spec import reference
from corten.spec.digest import short
from corten.testing.made_images import INDEX, MANIFEST, digest_of, tar_of
from corten.testing.registry import FakeRegistry, Fault

from .conftest import body_of, collect, words


@pytest.fixture
async def filled(engine, registry):
    engine.made = registry.add_image("demo", files=[{"a": b"1" * 3000}, {"b": b"2"}])
    await collect(engine.transfer.pull(f"{registry.host}/demo", "latest"))
    return engine


async def test_a_push_says_what_dockers_says_and_keeps_the_digest(filled):
    with FakeRegistry() as target:
        name = f"{target.host}/copy"
        await filled.images.tag(filled.made.image_id, name, "1")
        messages = await collect(filled.transfer.push(name, "1"))
        said = words(messages)
        top_first = [short(diff_id) for diff_id in filled.made.diff_ids][::-1]
        assert said[0] == ("", f"The push refers to repository [{name}]")
        assert said[1:3] == [(item, "Preparing") for item in top_first]
        assert sorted(m for m in said if m[1] == "Pushed") == sorted((item, "Pushed") for item in top_first)
        size = len(filled.made.manifest)
        assert said[-2] == ("", f"1: digest: {filled.made.digest} size: {size}")
        assert messages[-1].aux == {"Tag": "1", "Digest": filled.made.digest, "Size": size}
        assert target.manifests[("copy", "1")][1] == filled.made.manifest
        assert f"{name}@{filled.made.digest}" in filled.listing.inspect(name + ":1").repo_digests


async def test_layers_that_are_there_are_not_sent_again(filled):
    with FakeRegistry() as target:
        name = f"{target.host}/copy"
        await filled.images.tag(filled.made.image_id, name, "1")
        await collect(filled.transfer.push(name, "1"))
        before = target.count("PUT", "/blobs/")
        said = words(await collect(filled.transfer.push(name, "1")))
        assert [status for _, status in said].count("Layer already exists") == 2
        assert target.count("PUT", "/blobs/") == before


@pytest.mark.parametrize("allowed", [True, False])
async def test_layers_of_another_repository_are_mounted_if_the_registry_will(filled, registry, allowed):
    registry.allow_mount = allowed
    name = f"{registry.host}/other"
    await filled.images.tag(filled.made.image_id, name, "1")
    said = words(await collect(filled.transfer.push(name, "1")))
    assert [status for _, status in said].count("Mounted from demo" if allowed else "Pushed") == 2


async def test_a_push_survives_passing_failures(filled):
    with FakeRegistry() as target:
        name = f"{target.host}/copy"
        await filled.images.tag(filled.made.image_id, name, "1")
        target.faults += [
            Fault(path="/blobs/uploads/", method="PUT", status=503, times=2),
            Fault(path="/manifests/", method="PUT", status=500),
            Fault(path="/blobs/sha256", method="HEAD", status=429),
        ]
        await collect(filled.transfer.push(name, "1"))
        assert ("copy", "1") in target.manifests


async def test_a_refused_push_is_told_in_the_stream(filled):
    with FakeRegistry(tokens=True, users={"u": "p"}) as target:
        name = f"{target.host}/copy"
        await filled.images.tag(filled.made.image_id, name, "1")
        messages = filled.transfer.push(name, "1")
        assert (await anext(messages)).status.startswith("The push refers to")
        with pytest.raises(CortenError, match="unauthorized"):
            await collect(messages)
        await collect(filled.transfer.push(name, "1", credentials=Credentials(username="u", password="p")))


async def test_all_tags_are_pushed_when_none_is_given(filled):
    with FakeRegistry() as target:
        name = f"{target.host}/copy"
        for tag in ("1", "2"):
            await filled.images.tag(filled.made.image_id, name, tag)
        await collect(filled.transfer.push(name))
        assert {("copy", "1"), ("copy", "2")} <= set(target.manifests)


async def test_what_is_not_here_cannot_be_pushed(engine):
    with pytest.raises(NotFound, match="An image does not exist locally with the tag: nope"):
        await collect(engine.transfer.push("nope", "1"))


async def test_an_image_made_here_is_compressed_once_for_its_first_push(engine, make_engine):
    tar = tar_of({"data": bytes(range(256)) * 2000})
    (message,) = await collect(engine.transfer.import_image(body_of(tar), repository="made", tag="1"))
    with FakeRegistry() as target:
        name = f"{target.host}/made"
        await engine.images.tag("made:1", name, "1")
        await collect(engine.transfer.push(name, "1"))
        (layer,) = engine.library.catalog.get(message.status).layers
        assert layer.media_type.endswith("+gzip")
        assert layer.size < len(tar) // 10
        assert engine.blobs.size(digest_of(tar)) is None
        assert gzip.decompress(target.blobs[layer.digest]) == tar
        assert engine.restarted().catalog.get(message.status).layers == (layer,)
        other = make_engine("other")
        await collect(other.transfer.pull(name, "1"))
        assert other.images.resolve(f"{name}:1").id == message.status
        said = words(await collect(engine.transfer.push(name, "1")))
        assert [status for _, status in said].count("Layer already exists") == 1


def indexed(registry, *, attested=True, platforms=("amd64", "arm64")):
    """An index of images with a layer each of its own, and attestations about them; its digest."""
    entries = []
    for architecture in platforms:
        made = registry.add_image("demo", "", files=[{"a": architecture.encode()}], architecture=architecture)
        platform = {"os": "linux", "architecture": architecture}
        entries.append({"mediaType": MANIFEST, "digest": made.digest, "size": len(made.manifest), "platform": platform})
        if attested:
            statement = registry.add_blob("demo", f"about {architecture}".encode())
            document = json.loads(made.manifest)
            document["layers"] = [{"mediaType": "application/vnd.in-toto+json", "digest": statement, "size": 11}]
            raw = json.dumps(document).encode()
            about = {
                "vnd.docker.reference.type": "attestation-manifest",
                "vnd.docker.reference.digest": made.digest,
            }
            entry = {"mediaType": MANIFEST, "digest": registry.add_manifest("demo", "", raw), "size": len(raw)}
            entries.append({**entry, "platform": {"os": "unknown", "architecture": "unknown"}, "annotations": about})
    raw = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).encode()
    return registry.add_manifest("demo", "latest", raw, INDEX)


async def pushed(engine, target, source):
    name = f"{target.host}/copy"
    await engine.images.tag(f"{source.host}/demo", name, "1")
    return await collect(engine.transfer.push(name, "1"))


async def test_an_index_is_pushed_whole_with_its_platforms_and_attestations(engine, registry):
    digest = indexed(registry)
    for platform in ("linux/arm64", "linux/amd64"):
        await collect(engine.transfer.pull(f"{registry.host}/demo", "latest", platform=platform))
    with FakeRegistry() as target:
        messages = await pushed(engine, target, registry)
        assert target.manifests[("copy", "1")] == registry.manifests[("demo", "latest")]
        assert messages[-1].aux["Digest"] == digest
        assert target.repository_blobs["copy"] == registry.repository_blobs["demo"]
        named = [
            path.rpartition("/")[2] for method, path, _ in target.requests if method == "PUT" and "manifests" in path
        ]
        assert len(named) == 5
        assert named[-1] == "1"
        assert f"{target.host}/copy@{digest}" in engine.listing.inspect(f"{target.host}/copy:1").repo_digests


async def test_an_index_of_one_platform_comes_through_with_its_attestation(engine, registry):
    digest = indexed(registry, platforms=("amd64",))
    await collect(engine.transfer.pull(f"{registry.host}/demo", "latest", platform="linux/amd64"))
    with FakeRegistry() as target:
        assert (await pushed(engine, target, registry))[-1].aux["Digest"] == digest


async def test_of_an_index_that_is_not_all_here_the_image_is_pushed_and_that_is_said(engine, registry):
    digest = indexed(registry)
    await collect(engine.transfer.pull(f"{registry.host}/demo", "latest", platform="linux/amd64"))
    with FakeRegistry() as target:
        messages = await pushed(engine, target, registry)
        media_type, _ = target.manifests[("copy", "1")]
        assert media_type == MANIFEST
        told = messages[-1].aux
        assert told["manifestPushedInsteadOfIndex"]
        assert told["originalIndex"]["digest"] == digest
        assert told["selectedManifest"]["digest"] == messages[-2].aux["Digest"]


async def test_where_a_blob_came_from_is_known_after_a_restart_and_without_the_name(engine, make_engine, registry):
    image = registry.add_image("demo", files=[{"a": b"1" * 3000}])
    await collect(engine.transfer.pull(f"{registry.host}/demo", "latest"))
    await engine.images.tag(image.image_id, f"{registry.host}/other", "1")
    await engine.library.unname(
        image.image_id, [n for n in engine.library.catalog.get(image.image_id).references if "demo" in n]
    )
    again = make_engine("engine")
    said = words(await collect(again.transfer.push(f"{registry.host}/other", "1")))
    assert [status for _, status in said].count("Mounted from demo") == 1
    assert registry.received == 0


async def test_blobs_are_sent_where_their_origin_does_not_know_them_any_more(filled, registry):
    registry.repository_blobs["demo"].clear()
    name = f"{registry.host}/other"
    await filled.images.tag(filled.made.image_id, name, "1")
    said = words(await collect(filled.transfer.push(name, "1")))
    assert [status for _, status in said].count("Pushed") == 2


def test_origins_of_blobs_that_are_gone_are_forgotten_and_damaged_ones_too(make_engine):
    rows = make_engine().rows("blob_origins")
    here, gone, damaged = (digest_of(text) for text in (b"here", b"gone", b"damaged"))
    demo, copy = (reference.parse(f"reg.example/{name}") for name in ("demo", "copy"))
    origins = BlobOrigins(rows, lambda _: True)
    origins.note([here, gone], demo)
    rows.put_all({damaged: b'["Not A Name"]'})
    again = BlobOrigins(rows, lambda digest: digest == here)
    assert again.others(here, copy, most=3) == ["demo"]
    assert again.others(gone, copy, most=3) == []
    assert [digest for digest, _ in rows.list()] == [here]


def test_of_many_origins_the_latest_are_kept_and_those_elsewhere_left_out(make_engine):
    origins = BlobOrigins(make_engine().rows("blob_origins"), lambda _: True)
    digest = digest_of(b"x")
    for number in range(20):
        origins.note([digest], reference.parse(f"reg.example/r{number}"))
    origins.note([digest], reference.parse("other.example/r"))
    assert origins.others(digest, reference.parse("reg.example/r19"), most=3) == ["r18", "r17", "r16"]
    assert origins.others(digest, reference.parse("reg.example/new"), most=99) == [f"r{n}" for n in range(19, 12, -1)]
