"""Pushing: what the registry has is not sent, what it can mount is mounted, and the digests stay the same."""

import gzip

import pytest

from corten.errors import CortenError, NotFound
from corten.registry.credentials import Credentials
from corten.spec.digest import short
from corten.testing.made_images import digest_of, tar_of
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
        assert f"{name}@{filled.made.digest}" in filled.images.inspect(name + ":1").repo_digests


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
