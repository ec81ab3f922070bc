"""What a cache says when it is read again, and what is read of hostile ones."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.build.caching.format import (
    CACHE_CONFIG,
    CacheContent,
    CacheMountRecord,
    InlineImage,
    Step,
    believable,
    decode_config,
    decode_inline,
    encode_config,
    encode_inline,
)
from corten.build.filesystem import FileSystem, Layer
from corten.errors import InvalidArgument
from corten.lib import codec
from corten.spec.oci_image import (
    OCI_CONFIG,
    OCI_LAYER,
    OCI_LAYER_GZIP,
    Descriptor,
    Image,
    Manifest,
    RootFS,
    parse_image,
)

TIME = "2026-11-28T10:00:00.123456789Z"
KEYS = st.integers(0, 40).map(lambda number: f"{number:064x}")


def digest(number: int) -> str:
    return f"sha256:{number:064x}"


def layer(number: int, key: str = "", created: str = TIME) -> Layer:
    blob = Descriptor(media_type=OCI_LAYER_GZIP, digest=digest(number), size=number)
    return Layer(blob=blob, diff_id=digest(1000 + number), key=key, created=created if key else "")


@st.composite
def caches(draw: st.DrawFn) -> CacheContent:
    """Steps upon steps, as builds make them: each has a key of its own and no or one layer."""
    base = FileSystem(layers=tuple(layer(900 + n) for n in range(draw(st.integers(1, 3)))))
    steps: list[Step] = []
    for number, key in enumerate(draw(st.lists(KEYS, unique=True, max_size=12))):
        below = draw(st.sampled_from([base, *(step.filesystem for step in steps)]))
        own = draw(st.integers(0, 1))
        steps.append(
            Step(
                key=key,
                filesystem=FileSystem(layers=(*below.layers, *([layer(number, key)] if own else []))),
                own_layers=own,
                aliases=tuple(draw(st.lists(KEYS, unique=True, max_size=3))),
                name=draw(st.text("RUN abcä/'\"", max_size=20)),
            )
        )
    mounts = [CacheMountRecord(name=f"{n:032x}", layer=layer(800 + n)) for n in range(draw(st.integers(0, 2)))]
    return CacheContent(steps=tuple(steps), mounts=tuple(mounts))


@given(caches())
def test_a_cache_is_read_as_it_was_written(content: CacheContent) -> None:
    raw, blobs = encode_config(content)
    assert decode_config(raw, blobs) == content
    assert len({blob.digest for blob in blobs}) == len(blobs)


@given(caches())
def test_other_builders_find_their_own_form_in_it(content: CacheContent) -> None:
    raw, blobs = encode_config(content)
    config = json.loads(raw)
    assert all(record["digest"].startswith("sha256:") for record in config.get("records", []))
    for record in config.get("records", []):
        number, seen = record["layers"][0]["layer"], 0
        while number != -1:
            number, seen = config["layers"][number]["parent"], seen + 1
            assert seen <= len(config["layers"])
    assert {entry["blob"] for entry in config.get("layers", [])} == {blob.digest for blob in blobs}
    assert all((blob.annotations or {}).keys() == {"containerd.io/uncompressed"} for blob in blobs)


def image_of(steps: list[Step], layers: tuple[Layer, ...]) -> tuple[bytes, Manifest, Image]:
    image = Image(architecture="amd64", os="linux", rootfs=RootFS(diff_ids=[one.diff_id for one in layers]))
    fields = {name: getattr(image, name) for name in image.__struct_fields__}
    raw = codec.encode(InlineImage(**fields, cache=encode_inline(steps, FileSystem(layers=layers)) or None))
    config = Descriptor(media_type=OCI_CONFIG, digest=digest(0), size=len(raw))
    return raw, Manifest(schema_version=2, config=config, layers=[one.blob for one in layers]), image


@given(caches())
def test_an_image_carries_the_steps_of_its_own_layers(content: CacheContent) -> None:
    for result in (step.filesystem for step in content.steps):
        raw, manifest, image = image_of(list(content.steps), result.layers)
        found = decode_inline(raw, manifest, parse_image(raw))
        own = [s for s in content.steps if s.filesystem.layers == result.layers[: len(s.filesystem.layers)]]
        assert found.steps == tuple(own)
        assert parse_image(raw) == image, "nobody else hears of it"


def test_an_image_without_records_has_none() -> None:
    raw, manifest, image = image_of([], (layer(1),))
    assert decode_inline(raw, manifest, image) == CacheContent()
    for wrong in ("!", base64.b64encode(b"{}").decode(), base64.b64encode(b"[1]").decode()):
        broken = json.dumps({**json.loads(raw), "moby.buildkit.cache.v0": wrong}).encode()
        with pytest.raises(InvalidArgument):
            decode_inline(broken, manifest, image)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 5) | st.text(max_size=5) | KEYS.map(lambda key: f"sha256:{key}"),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["layers", "records", "corten", "digest", "layer", "parent", "blob", "own", "annotations"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(JSON)
def test_what_is_no_cache_is_refused_or_says_nothing_that_is_not_whole(document: Any) -> None:
    known = [layer(number).blob for number in range(5)]
    try:
        found = decode_config(json.dumps(document).encode(), known)
    except InvalidArgument:
        return
    for step in found.steps:
        assert step.filesystem.layers
        assert {one.blob.digest for one in step.filesystem.layers} <= {blob.digest for blob in known}


@given(caches(), st.data())
def test_records_with_wrong_numbers_are_left_out_and_the_others_stay(
    content: CacheContent, data: st.DataObject
) -> None:
    raw, blobs = encode_config(content)
    config = json.loads(raw)
    if not config.get("layers"):
        return
    number = data.draw(st.integers(0, len(config["layers"]) - 1))
    config["layers"][number]["parent"] = data.draw(st.integers(-5, len(config["layers"]) + 3))
    found = decode_config(json.dumps(config).encode(), blobs)
    assert all(0 < len(step.filesystem.layers) <= 125 for step in found.steps)


def document(**changes: Any) -> bytes:
    one = {"blob": digest(1), "parent": -1, "annotations": {"mediaType": OCI_LAYER_GZIP, "diffID": digest(2)}}
    record = {"digest": digest(7), "layers": [{"layer": 0, "createdAt": TIME}], "corten": {"own": 1}}
    return json.dumps({"layers": [{**one, **changes.pop("layer", {})}], "records": [{**record, **changes}]}).encode()


BLOBS = [layer(1).blob]


def test_a_record_of_ours_is_taken_and_anothers_is_not() -> None:
    assert len(decode_config(document(), BLOBS).steps) == 1
    assert decode_config(document(corten=None), BLOBS).steps == ()
    assert decode_config(document(digest="sha256:x"), BLOBS).steps == ()
    assert decode_config(document(layers=[]), BLOBS).steps == ()
    assert decode_config(document(layers=[{"layer": 1}]), BLOBS).steps == ()
    assert decode_config(document(layer={"parent": 0}), BLOBS).steps == (), "a layer upon itself"
    assert decode_config(document(layer={"blob": digest(3)}), BLOBS).steps == (), "a blob that the manifest lacks"
    foreign = {"annotations": {"mediaType": "text/plain", "diffID": digest(2)}}
    assert decode_config(document(layer=foreign), BLOBS).steps == ()
    assert decode_config(document(layer={"annotations": {"diffID": "../x"}}), BLOBS).steps == ()


def test_texts_of_a_record_are_bounded_and_its_time_is_one() -> None:
    record = {"own": 9, "aliases": ["../../x", digest(1)[7:]] * 40, "name": "a\n\x1b[31m" * 400}
    (step,) = decode_config(document(corten=record, layers=[{"layer": 0, "createdAt": "today"}]), BLOBS).steps
    assert step.own_layers == 1
    assert set(step.aliases) == {digest(1)[7:]}
    assert len(step.aliases) <= 16
    assert len(step.name) <= 256
    assert step.name.isprintable()
    assert step.filesystem.layers[0].created == ""


def test_what_a_cache_says_of_blobs_that_are_here_has_to_be_so() -> None:
    """They are not fetched, so that nobody else verifies it: an image would name what no registry takes."""

    def kept(one: Layer, sizes: dict[str, int]) -> tuple[int, int]:
        steps = (
            Step(key="1" * 64, filesystem=FileSystem(layers=(layer(5), one))),
            Step(key="2" * 64, filesystem=FileSystem(layers=(layer(5),))),
        )
        content = CacheContent(steps=steps, mounts=(CacheMountRecord(name=f"{1:032x}", layer=one),))
        found = believable(content, sizes.get)
        return len(found.steps), len(found.mounts)

    assert kept(layer(7), {}) == (2, 1)
    assert kept(layer(7), {digest(7): 7}) == (2, 1)
    assert kept(layer(7), {digest(7): 8}) == (1, 0)
    plain = Descriptor(media_type=OCI_LAYER, digest=digest(7), size=7)
    assert kept(Layer(blob=plain, diff_id=digest(7)), {digest(7): 7}) == (2, 1)
    assert kept(Layer(blob=plain, diff_id=digest(8)), {digest(7): 7}) == (1, 0)


def test_mounts_have_names_that_are_no_paths() -> None:
    for name, count in ((f"{1:032x}", 1), ("../../etc", 0), ("", 0), (f"{1:032x}/x", 0)):
        raw = json.dumps({**json.loads(document()), "corten": {"mounts": [{"name": name, "layer": 0}]}}).encode()
        assert len(decode_config(raw, BLOBS).mounts) == count
    raw = json.dumps({**json.loads(document()), "corten": {"mounts": [{"name": f"{1:032x}", "layer": 5}]}}).encode()
    assert decode_config(raw, BLOBS).mounts == ()


def test_the_type_of_the_configuration_is_buildkits() -> None:
    assert CACHE_CONFIG == "application/vnd.buildkit.cacheconfig.v0"
