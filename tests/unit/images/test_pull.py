"""Pulling: Docker's messages in Docker's order, nothing named before all is there, shared and resumed downloads."""

import asyncio
import json
import socket
import threading

import pytest

from corten.engine.images.catalog import ImageNotFound
from corten.errors import CortenError, DataLoss, InvalidArgument, NotFound
from corten.registry.errors import RegistryError
from corten.spec.digest import short
from corten.spec.oci_image import UnsupportedImage
from corten.testing.made_images import INDEX, digest_of
from corten.testing.registry import FakeRegistry, Fault

from .conftest import collect, words


async def pull(engine, registry, name="demo", tag="latest", **options):
    return await collect(engine.transfer.pull(f"{registry.host}/{name}", tag, **options))


async def test_a_pull_says_what_dockers_says_and_names_the_image(engine, registry):
    image = registry.add_image("demo", "1.0", files=[{"a": b"1"}, {"b": b"2"}])
    messages = words(await pull(engine, registry, tag="1.0"))
    first, second = (short(digest_of(layer)) for layer in image.layers)
    assert messages[0] == ("1.0", "Pulling from demo")
    assert messages[1:3] == [(first, "Pulling fs layer"), (second, "Pulling fs layer")]
    for item in (first, second):
        said = [status for line, status in messages if line == item]
        assert said == ["Pulling fs layer", "Verifying Checksum", "Download complete", "Pull complete"]
    assert [m for m in messages if m[1] == "Pull complete"] == [(first, "Pull complete"), (second, "Pull complete")]
    host = registry.host
    assert messages[-2:] == [
        ("", f"Digest: {image.digest}"),
        ("", f"Status: Downloaded newer image for {host}/demo:1.0"),
    ]
    resolved = engine.images.resolve(f"{host}/demo:1.0")
    assert resolved.id == image.image_id
    assert resolved.config.defaults.cmd == ["/hello"]
    assert resolved.chain_id in engine.layers.tars
    shown = engine.listing.inspect(f"{host}/demo:1.0")
    assert shown.repo_tags == [f"{host}/demo:1.0"]
    assert shown.repo_digests == [f"{host}/demo@{image.digest}"]
    assert engine.actions() == ["pull"]


async def test_a_second_pull_is_up_to_date_and_fetches_nothing(engine, registry):
    image = registry.add_image("demo")
    await pull(engine, registry)
    before = registry.count("GET", "/")
    messages = words(await pull(engine, registry))
    assert messages == [
        ("latest", "Pulling from demo"),
        ("", f"Digest: {image.digest}"),
        ("", f"Status: Image is up to date for {registry.host}/demo:latest"),
    ]
    assert registry.count("GET", "/") - before == 1  # the configuration; manifests by HEAD alone


async def test_an_image_that_is_here_gets_a_new_tag_without_a_word_about_layers(engine, registry):
    image = registry.add_image("demo", "1")
    registry.add_manifest("demo", "2", image.manifest)
    await pull(engine, registry, tag="1")
    assert words(await pull(engine, registry, tag="2")) == [
        ("2", "Pulling from demo"),
        ("", f"Digest: {image.digest}"),
        ("", f"Status: Downloaded newer image for {registry.host}/demo:2"),
    ]
    assert len(engine.library.catalog) == 1


async def test_a_layer_that_is_here_already_exists(engine, registry):
    base = {"base": b"x" * 1000}
    registry.add_image("demo", "1", files=[base])
    second = registry.add_image("demo", "2", files=[base, {"more": b"y"}])
    await pull(engine, registry, tag="1")
    messages = words(await pull(engine, registry, tag="2"))
    assert (short(digest_of(second.layers[0])), "Already exists") in messages
    assert registry.count("GET", digest_of(second.layers[0])) == 1


async def test_the_index_decides_by_platform(engine, registry):
    images = {arch: registry.add_image("demo", "", architecture=arch) for arch in ("amd64", "arm64")}
    entries = [
        {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": image.digest,
            "size": len(image.manifest),
            "platform": {"os": "linux", "architecture": arch},
        }
        for arch, image in images.items()
    ]
    raw = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).encode()
    digest = registry.add_manifest("demo", "latest", raw, INDEX)
    messages = words(await pull(engine, registry, platform="linux/arm64/v8"))
    assert ("", f"Digest: {digest}") in messages
    assert engine.listing.inspect(f"{registry.host}/demo").architecture == "arm64"
    assert engine.blobs.size(digest) == len(raw)
    with pytest.raises(NotFound, match="no matching manifest for linux/s390x in the manifest list entries"):
        await pull(engine, registry, platform="linux/s390x")


async def test_a_platform_that_the_image_is_not_for_is_told(engine, registry):
    registry.add_image("demo", architecture="arm64")
    with pytest.raises(
        NotFound, match="does not match the specified platform: wanted linux/amd64, actual: linux/arm64"
    ):
        await pull(engine, registry, platform="linux/amd64")
    assert list(engine.library.catalog) == []


async def test_all_tags_are_pulled_when_none_is_given(engine, registry, monkeypatch):
    registry.add_image("demo", "1", files=[{"a": b"1"}])
    registry.add_image("demo", "2", files=[{"a": b"2"}])
    listing = json.dumps({"name": "demo", "tags": ["1", "2"]}).encode()
    registry.faults.append(Fault(path="/tags/list", status=200, body=listing))
    await collect(engine.transfer.pull(f"{registry.host}/demo"))
    assert sorted(t for e in engine.library.catalog for t in e.repo_tags()) == [
        f"{registry.host}/demo:1",
        f"{registry.host}/demo:2",
    ]


async def test_by_digest_the_image_has_no_tag(engine, registry):
    image = registry.add_image("demo")
    messages = words(await collect(engine.transfer.pull(f"{registry.host}/demo", image.digest)))
    assert messages[0] == (image.digest, "Pulling from demo")
    assert messages[-1][1] == f"Status: Downloaded newer image for {registry.host}/demo@{image.digest}"
    shown = engine.listing.inspect(f"{registry.host}/demo@{image.digest}")
    assert shown.repo_tags == []


async def test_an_unknown_tag_is_not_found_in_dockers_words(engine, registry):
    registry.add_image("demo")
    with pytest.raises(NotFound) as caught:
        await pull(engine, registry, tag="nope")
    assert caught.value.message == (
        f"manifest for {registry.host}/demo:nope not found: manifest unknown: manifest unknown"
    )


async def test_a_denied_pull_is_not_found_in_dockers_words(engine, registry):
    body = b'{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}'
    registry.faults.append(Fault(path="/manifests/", status=403, body=body))
    with pytest.raises(NotFound) as caught:
        await pull(engine, registry, name="x")
    assert caught.value.message == (
        f"pull access denied for {registry.host}/x, repository does not exist or may require 'docker login': "
        "denied: requested access to the resource is denied"
    )


async def test_a_layer_with_other_bytes_leaves_no_image_and_no_ingest(engine, registry):
    registry.add_image("demo")
    registry.faults.append(Fault(path="/blobs/", corrupt=True, times=99))
    with pytest.raises((DataLoss, RegistryError)):
        await pull(engine, registry)
    with pytest.raises(ImageNotFound):
        engine.images.resolve(f"{registry.host}/demo")
    assert engine.digests() == set()


async def test_a_layer_that_was_damaged_once_is_fetched_anew(engine, registry):
    image = registry.add_image("demo")
    registry.faults.append(Fault(path=digest_of(image.layers[0]), corrupt=True))
    await pull(engine, registry)
    assert engine.images.resolve(f"{registry.host}/demo").id == image.image_id


async def test_a_layer_with_another_diff_id_than_the_configuration_says_is_refused(engine, registry):
    image = registry.add_image("demo", "good")
    config = json.loads(image.config)
    config["rootfs"]["diff_ids"] = [digest_of(b"other")]
    raw = json.dumps(config).encode()
    manifest = json.loads(image.manifest)
    manifest["config"] |= {"digest": registry.add_blob("demo", raw), "size": len(raw)}
    registry.add_manifest("demo", "bad", json.dumps(manifest).encode())
    with pytest.raises(DataLoss, match="layer verification failed"):
        await pull(engine, registry, tag="bad")
    assert engine.layers.tars == {}
    assert len(engine.library.catalog) == 0


@pytest.mark.parametrize(
    "change",
    [
        {"manifests": []},
        {"mediaType": INDEX},
        {"layers": []},
        {"schemaVersion": 1},
        {"config": {"mediaType": "x", "digest": "sha256:" + "0" * 64, "size": -1}},
        {"layers": [{"mediaType": "x", "digest": "sha256:zz", "size": 1}]},
        {"layers": None},
    ],
)
async def test_ambiguous_and_broken_manifests_are_refused(engine, registry, change):
    image = registry.add_image("demo")
    raw = json.dumps(json.loads(image.manifest) | change).encode()
    registry.add_manifest("demo", "bad", raw)
    with pytest.raises((InvalidArgument, UnsupportedImage)):
        await pull(engine, registry, tag="bad")
    assert len(engine.library.catalog) == 0


async def test_foreign_layers_are_refused_politely(engine, registry):
    image = registry.add_image("demo")
    document = json.loads(image.manifest)
    document["layers"][0]["mediaType"] = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    registry.add_manifest("demo", "bad", json.dumps(document).encode())
    with pytest.raises(UnsupportedImage, match="foreign layer"):
        await pull(engine, registry, tag="bad")


async def test_two_pulls_at_once_share_the_downloads(engine, registry):
    image = registry.add_image("demo", files=[{"a": b"x" * 50_000}, {"b": b"y" * 50_000}])
    await asyncio.gather(*(pull(engine, registry) for _ in range(4)))
    for layer in image.layers:
        assert registry.count("GET", digest_of(layer)) == 1


async def test_closing_the_stream_ends_the_download_and_the_next_pull_resumes_it(engine, registry):
    image = registry.add_image("demo", files=[{"a": bytes(range(256)) * 4000}])
    layer = image.layers[0]
    gate = threading.Event()
    registry.faults.append(Fault(path=digest_of(layer), cut_after=1000, stall=gate))
    messages = engine.transfer.pull(f"{registry.host}/demo", "latest")
    try:
        async for message in messages:
            if message.status == "Downloading":
                break
        await asyncio.wait_for(messages.aclose(), 30)
    finally:
        gate.set()
    assert len(engine.library.catalog) == 0
    await pull(engine, registry)
    ranges = [h.get("Range") for _, path, h in registry.requests if digest_of(layer) in path]
    assert ranges[0] is None
    assert ranges[1] == "bytes=1000-"
    assert engine.images.resolve(f"{registry.host}/demo").id == image.image_id


async def test_a_moved_tag_leaves_the_old_image_without_it(engine, registry):
    old = registry.add_image("demo", files=[{"a": b"old"}])
    await pull(engine, registry)
    new = registry.add_image("demo", files=[{"a": b"new"}])
    await pull(engine, registry)
    assert engine.images.resolve(f"{registry.host}/demo").id == new.image_id
    assert engine.listing.inspect(old.image_id).repo_tags == []
    again = engine.restarted()
    assert again.catalog.resolve(f"{registry.host}/demo").id == new.image_id
    assert len(again.catalog) == 2


async def test_hello_world_comes_along_when_no_registry_answers(make_engine):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    engine = make_engine(mirrors=(f"http://127.0.0.1:{port}",))
    messages = [m async for m in engine.transfer.pull("hello-world", "latest")]
    said = words(messages)
    assert said[0] == ("latest", "Pulling from library/hello-world")
    assert "hello-world image that comes with Corten" in said[1][1]
    assert said[-2][1].startswith("Digest: sha256:")
    assert said[-1] == ("", "Status: Downloaded newer image for hello-world:latest")
    assert engine.images.resolve("hello-world").config.defaults.cmd == ["/hello"]


async def test_hello_world_does_not_wait_for_a_registry_that_never_answers(make_engine, registry):
    gate = threading.Event()
    registry.add_image("library/hello-world")
    registry.faults.append(Fault(path="/manifests/", stall=gate, times=9))
    engine = make_engine(mirrors=(f"http://{registry.host}",))
    engine.transfer._puller._builtin_wait_s = 0.1
    try:
        messages = words([m async for m in engine.transfer.pull("hello-world", "latest")])
    finally:
        gate.set()
    assert "comes with Corten" in messages[1][1]


async def test_hello_world_comes_from_the_mirror_when_there_is_one(make_engine, registry):
    image = registry.add_image("library/hello-world")
    engine = make_engine(mirrors=(f"http://{registry.host}",))
    await collect(engine.transfer.pull("hello-world", "latest"))
    assert engine.images.resolve("hello-world").id == image.image_id


async def test_other_images_are_never_stood_in_for(make_engine):
    engine = make_engine()
    with pytest.raises(CortenError, match=r'Get "https://registry\.invalid/v2/": dial tcp: lookup'):
        await collect(engine.transfer.pull("registry.invalid/hello-world", "latest"))


async def test_a_bad_name_is_refused_before_anything_happens(engine):
    with pytest.raises(InvalidArgument, match="must be lowercase"):
        engine.transfer.pull("127.0.0.1:1/Demo", "latest")


async def test_distribution_tells_platforms_without_pulling(engine):
    with FakeRegistry() as registry:
        image = registry.add_image("demo", architecture="arm64")
        found = await engine.transfer.distribution(f"{registry.host}/demo")
        assert found.descriptor.digest == image.digest
        assert [p.architecture for p in found.platforms] == ["arm64"]
        assert len(engine.library.catalog) == 0
