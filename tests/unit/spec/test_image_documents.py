"""Digests, platforms and image documents."""

import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corten.errors import CortenError, DataLoss, InvalidArgument
from corten.spec import oci_image, platform
from corten.spec.digest import Verifier, chain_ids, digest_of, parse_digest, short
from corten.spec.oci_image import Index, Manifest
from corten.spec.platform import Platform

D = "sha256:" + "ab" * 32


def test_a_chain_id_is_the_hash_of_what_lies_below():
    one, two = digest_of(b"1"), digest_of(b"2")
    assert chain_ids([]) == []
    assert chain_ids([one]) == [one]
    assert chain_ids([one, two])[1] == "sha256:" + hashlib.sha256(f"{one} {two}".encode()).hexdigest()


@given(st.binary(max_size=200), st.integers(1, 50))
def test_a_verifier_passes_what_it_expects_only(data, step):
    for digest, size, good in [
        (digest_of(data), len(data), True),
        (digest_of(data), None, True),
        (digest_of(data), len(data) + 1, False),
        (digest_of(data + b"x"), len(data), False),
    ]:
        verifier = Verifier(digest, size)
        for start in range(0, len(data), step):
            verifier.update(data[start : start + step])
        if good:
            verifier.finish()
        else:
            with pytest.raises(DataLoss):
                verifier.finish()


@pytest.mark.parametrize(
    "text", ["", "sha256:", "sha256:zz", "sha512:" + "0" * 128, "sha256:" + "A" * 64, D + "0", D + "\n"]
)
def test_other_digests_are_refused(text):
    with pytest.raises(InvalidArgument):
        parse_digest(text)


def test_digests_are_shortened_as_ids_are_shown():
    assert short(D) == "ab" * 6


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("linux/amd64", "linux/amd64"),
        ("linux/x86_64", "linux/amd64"),
        ("linux/aarch64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm", "linux/arm/v7"),
        ("linux/arm/6", "linux/arm/v6"),
        ("linux/armhf", "linux/arm/v7"),
        ("arm64", "linux/arm64"),
        ("Linux/AMD64", "linux/amd64"),
    ],
)
def test_platforms_have_one_spelling(text, expected):
    assert str(platform.parse(text)) == expected


@pytest.mark.parametrize("text", ["", "/", "a/b/c/d", "linux/", "nonsense", "linux/am d64", "x" * 100])
def test_nonsense_is_no_platform(text):
    with pytest.raises(InvalidArgument):
        platform.parse(text)


@pytest.mark.parametrize(
    ("wanted", "available", "best"),
    [
        ("linux/amd64", ["linux/arm64", "linux/amd64"], 1),
        ("linux/amd64", ["linux/amd64/v2", "linux/amd64"], 1),
        ("linux/amd64/v3", ["linux/amd64", "linux/amd64/v2", "linux/amd64/v4"], 1),
        ("linux/amd64", ["linux/386"], 0),
        ("linux/arm/v7", ["linux/arm/v5", "linux/arm/v6", "linux/arm/v8"], 1),
        ("linux/arm64", ["linux/arm/v7", "linux/arm64/v8"], 1),
        ("linux/arm/v6", ["linux/arm/v7"], None),
        ("linux/riscv64", ["linux/amd64"], None),
        ("linux/amd64", ["windows/amd64"], None),
    ],
)
def test_the_best_variant_is_chosen(wanted, available, best):
    options = [Platform(*text.split("/")) for text in available]
    assert platform.choose(options, platform.parse(wanted)) == best


def manifest(**changes):
    blob = {"mediaType": oci_image.OCI_LAYER, "digest": D, "size": 3}
    config = {"mediaType": oci_image.OCI_CONFIG, "digest": D, "size": 2}
    return json.dumps({"schemaVersion": 2, "config": config, "layers": [blob]} | changes).encode()


def test_manifest_and_index_are_told_apart():
    assert isinstance(oci_image.parse_document(manifest()), Manifest)
    index = b'{"schemaVersion":2,"manifests":[]}'
    assert isinstance(oci_image.parse_document(index), Index)
    assert isinstance(oci_image.parse_document(index, oci_image.DOCKER_INDEX + "; charset=utf-8"), Index)


@pytest.mark.parametrize(
    ("raw", "announced"),
    [
        (manifest(manifests=[]), ""),
        (manifest(), oci_image.OCI_INDEX),
        (manifest(mediaType=oci_image.OCI_INDEX), ""),
        (manifest(mediaType=oci_image.OCI_MANIFEST), oci_image.DOCKER_MANIFEST),
        (manifest(mediaType="application/x-other"), ""),
        (b'{"schemaVersion":2,"manifests":[]}', oci_image.OCI_MANIFEST),
        (b'{"schemaVersion":1,"fsLayers":[]}', ""),
        (b'{"schemaVersion":2}', ""),
        (b"[]", ""),
        (b"", ""),
        (b"{" * 100_000, ""),
        (b'{"schemaVersion":2,"manifests":[null]}', ""),
        (b" " * (oci_image.MANIFEST_LIMIT + 1), ""),
        (manifest(layers=[{"mediaType": "x", "digest": "", "size": 1}]), ""),
        (manifest(layers=[{"mediaType": "x", "digest": D, "size": 1.5}]), ""),
    ],
)
def test_ambiguous_and_broken_documents_are_refused(raw, announced):
    with pytest.raises(CortenError):
        oci_image.parse_document(raw, announced)


@given(st.recursive(st.none() | st.integers() | st.text(max_size=5), lambda c: st.lists(c, max_size=3) | st.dictionaries(
    st.sampled_from(["schemaVersion", "manifests", "layers", "config", "digest", "size", "mediaType", "rootfs"]), c)))  # fmt: skip
@settings(max_examples=300)
def test_any_json_is_a_document_or_refused(value):
    raw = json.dumps(value).encode()
    for parse in (oci_image.parse_document, oci_image.parse_image):
        try:
            parse(raw)
        except CortenError:
            continue


def test_attestations_are_passed_over():
    entries = [
        {"mediaType": oci_image.OCI_MANIFEST, "digest": D, "size": 1, "platform": {"os": "unknown", "architecture": "unknown"},
         "annotations": {"vnd.docker.reference.type": "attestation-manifest"}},
        {"mediaType": oci_image.OCI_MANIFEST, "digest": "sha256:" + "cd" * 32, "size": 1,
         "platform": {"os": "linux", "architecture": "amd64"}},
    ]  # fmt: skip
    index = oci_image.parse_document(json.dumps({"schemaVersion": 2, "manifests": entries}).encode())
    chosen = oci_image.choose_manifest(index, Platform("linux", "amd64"))
    assert chosen.digest == "sha256:" + "cd" * 32
