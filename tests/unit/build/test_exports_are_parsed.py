"""What outputs, annotations and attestations mean, in BuildKit's words; and what is refused."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.build.attestations.wishes import ProvenanceWish, parse_attests
from corten.build.exporters.annotations import parse_annotations
from corten.build.exporters.request import (
    TYPES,
    ArchiveExport,
    CacheOnly,
    Compression,
    FilesExport,
    ImageExport,
    check_names,
    image_name,
    parse_export,
    parse_exports,
)
from corten.errors import InvalidArgument
from corten.spec.platform import Platform


def image(**attributes: str) -> ImageExport:
    found = parse_export("image", {name.replace("_", "-"): value for name, value in attributes.items()})
    assert isinstance(found, ImageExport)
    return found


def test_each_type_has_its_record() -> None:
    kinds = {kind: type(parse_export(kind, {})) for kind in TYPES}
    assert kinds == {
        "image": ImageExport, "registry": ImageExport, "moby": ImageExport, "oci": ArchiveExport,
        "docker": ArchiveExport, "local": FilesExport, "tar": FilesExport, "cacheonly": CacheOnly,
    }  # fmt: skip


def test_an_image_is_stored_and_a_registrys_is_pushed_too() -> None:
    plain = image()
    assert (plain.store, plain.push, plain.names, plain.layout.rewrite) == (True, False, (), True)
    registry = parse_export("registry", {"name": "a/b:1, a/b:2,a/b:1"})
    assert isinstance(registry, ImageExport)
    assert registry.push
    assert [name.familiar for name in registry.names] == ["a/b:1", "a/b:2"]
    assert not image(store="false").store
    assert not image(push="false", name="x").push


def test_by_digest_there_is_no_tag_and_nothing_is_stored() -> None:
    found = image(name="example.test/x", push_by_digest="true", push="true")
    assert (found.by_digest, found.store) == (True, False)
    with pytest.raises(InvalidArgument, match="tagged ref by digest"):
        image(name="example.test/x:1", push_by_digest="true")


def test_the_layout_says_how_layers_are_written() -> None:
    layout = image(compression="zstd", compression_level="7", force_compression="1", oci_mediatypes="false").layout
    assert layout.compression == Compression(kind="zstd", level=7, force=True)
    assert not layout.oci_types
    assert image(source_date_epoch="5").layout.epoch_s == 5
    assert not image(rewrite_timestamp="false").layout.rewrite


@pytest.mark.parametrize(
    ("kind", "attributes", "words"),
    [
        ("ipfs", {}, "is not supported: it may be image, registry"),
        ("image", {"compression": "lzma"}, "unsupported layer compression type"),
        ("image", {"compression": "gzip", "compression-level": "10"}, "from 1 to 9"),
        ("image", {"compression": "zstd", "compression-level": "-1"}, "from 1 to 22"),
        ("image", {"push": "maybe"}, "non-bool value 'maybe' specified for push"),
        ("image", {"dest": "x"}, "image: not supported: dest"),
        ("image", {"name": "UPPER"}, "lowercase"),
        ("image", {"name": "x@sha256:" + "0" * 64}, "refusing to create a tag with a digest"),
        ("image", {"registry.insecure": "true"}, "not supported: registry.insecure"),
        ("oci", {"push": "true"}, "oci: not supported: push"),
        ("local", {"name": "x"}, "local: not supported: name"),
        ("tar", {"attestation-prefix": "../x"}, "attestation-prefix"),
        ("cacheonly", {"name": "x"}, "cacheonly: not supported: name"),
        ("image", {"annotation-nowhere.x": "y"}, "its level may be manifest"),
        ("image", {"annotation.": "y"}, "invalid annotation"),
        ("image", {"annotation-index[linux/amd64].x": "y"}, "an index has no platform"),
        ("image", {"annotation[a b].x": "y"}, "platform specifier"),
    ],
)
def test_what_is_not_known_is_refused(kind: str, attributes: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidArgument, match=words.replace("[", r"\[")):
        parse_export(kind, attributes)


def test_too_many_outputs_names_or_annotations_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="20 outputs"):
        parse_exports([("cacheonly", {})] * 21)
    with pytest.raises(InvalidArgument, match="names at once"):
        image(name=",".join(f"a:{number}" for number in range(101)))
    with pytest.raises(InvalidArgument, match="annotations"):
        image(**{f"annotation.{number}": "" for number in range(1001)})


def test_a_push_needs_a_name_of_its_own_or_of_the_build() -> None:
    with pytest.raises(InvalidArgument, match="tag is needed"):
        check_names([image(push="true")], [])
    check_names([image(push="true")], [image_name("x")])
    check_names([image(push="true", name="y"), image(), CacheOnly()], [])
    with pytest.raises(InvalidArgument, match="tag is needed"):
        check_names([image(push="true", push_by_digest="true")], [image_name("x")])


def test_annotations_go_where_they_say_and_a_platforms_own_count_more() -> None:
    found = parse_annotations(
        {
            "annotation.a": "all", "annotation-manifest[linux/arm64].a": "arm", "annotation-index.i": "1",
            "annotation-manifest-descriptor.d": "2", "annotation-index-descriptor.o": "3", "name": "no annotation",
        }
    )  # fmt: skip
    arm, amd = Platform("linux", "arm64"), Platform("linux", "amd64")
    assert (found.at("manifest", arm), found.at("manifest", amd)) == ({"a": "arm"}, {"a": "all"})
    assert found.at("index") == {"i": "1"}
    assert found.at("manifest-descriptor", arm) == {"d": "2"}
    assert found.at("index-descriptor") == {"o": "3"}
    assert parse_annotations({}).at("manifest") is None
    with pytest.raises(InvalidArgument, match="single platform"):
        found.check(has_index=False)
    found.check(has_index=True)


@pytest.mark.parametrize(
    ("text", "wish"),
    [
        ("", ProvenanceWish()),
        ("true", ProvenanceWish()),
        ("mode=max", ProvenanceWish(mode="max")),
        ("max", ProvenanceWish(mode="max")),
        ("mode=min,version=v0.2", ProvenanceWish(version="v0.2")),
        (
            "builder-id=https://x.test/,reproducible=true",
            ProvenanceWish(builder_id="https://x.test/", reproducible=True),
        ),
        ("inline-only=true", ProvenanceWish()),
        ("false", None),
        ("mode=max,disabled=true", None),
    ],
)
def test_provenance_is_asked_for_in_buildxs_words(text: str, wish: ProvenanceWish | None) -> None:
    assert parse_attests({"provenance": text}).provenance == wish


def test_nothing_is_said_unless_it_is_asked_for() -> None:
    assert not parse_attests({}).any
    assert not parse_attests({"sbom": "false", "provenance": "false"}).any
    assert parse_attests({"sbom": ""}).sbom
    assert parse_attests({"sbom": None}).sbom


@pytest.mark.parametrize(
    "entries",
    [{"vsa": ""}, {"provenance": "mode=some"}, {"provenance": "version=v2"}, {"provenance": "color=red"},
     {"provenance": "reproducible=perhaps"}, {"sbom": "generator=x"}, {"sbom": "x=y"}, {"provenance": "x" * 5000}],
)  # fmt: skip
def test_other_words_about_attestations_are_refused(entries: dict[str, str | None]) -> None:
    with pytest.raises(InvalidArgument):
        parse_attests(entries)


@given(st.sampled_from(TYPES), st.dictionaries(st.text(max_size=20), st.text(max_size=20), max_size=5))
def test_any_attributes_are_an_export_or_a_clear_refusal(kind: str, attributes: dict[str, str]) -> None:
    with contextlib.suppress(InvalidArgument):  # and nothing else
        parse_export(kind, attributes)


@given(st.dictionaries(st.sampled_from(["provenance", "sbom", "x"]), st.none() | st.text(max_size=40)))
def test_any_words_about_attestations_are_understood_or_refused(entries: dict[str, str | None]) -> None:
    with contextlib.suppress(InvalidArgument):
        parse_attests(entries)
