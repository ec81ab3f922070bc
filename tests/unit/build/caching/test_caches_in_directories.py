"""Caches as OCI layouts in directories of a client's, who may have put anything there."""

from __future__ import annotations

import hashlib
import io
import json
import os
from pathlib import Path

import pytest

from corten.build.caching.format import CACHE_CONFIG, CacheContent, Step, encode_config
from corten.build.caching.layout import LayoutSource, write_layout
from corten.build.caching.passed import split_passed
from corten.build.caching.reading import read_cache
from corten.build.filesystem import FileSystem, Layer
from corten.errors import CortenError, DataLoss, InvalidArgument, NotFound
from corten.lib import codec
from corten.linux.acting import ROOT
from corten.registry.fetch import Buffer
from corten.spec.digest import digest_of
from corten.spec.oci_image import OCI_LAYER_GZIP, OCI_MANIFEST, Descriptor, Manifest
from corten.spec.platform import host_platform

BLOB = b"a layer" * 1000


def descriptor(raw: bytes, media_type: str) -> Descriptor:
    return Descriptor(media_type=media_type, digest=digest_of(raw), size=len(raw))


LAYER = Layer(blob=descriptor(BLOB, OCI_LAYER_GZIP), diff_id=digest_of(b"x"), key="1" * 64)
CONTENT = CacheContent(steps=(Step(key="1" * 64, filesystem=FileSystem(layers=(LAYER,)), own_layers=1, name="RUN x"),))


def write(directory: Path, *, tag: str = "latest", content: CacheContent = CONTENT) -> bytes:
    config, blobs = encode_config(content)
    named = descriptor(config, CACHE_CONFIG)
    manifest = codec.encode(Manifest(schema_version=2, media_type=OCI_MANIFEST, config=named, layers=blobs))
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        write_layout(
            fd,
            blobs=[
                (LAYER.blob, lambda: io.BytesIO(BLOB)),
                (named, lambda: io.BytesIO(config)),
                (descriptor(manifest, OCI_MANIFEST), lambda: io.BytesIO(manifest)),
            ],
            manifest=descriptor(manifest, OCI_MANIFEST),
            tag=tag,
            check=lambda: None,
        )
    finally:
        os.close(fd)
    return manifest


def source(directory: Path) -> LayoutSource:
    return LayoutSource(lambda: os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))


def read(directory: Path, tag: str = "latest", digest: str = "") -> CacheContent:
    found = source(directory)
    return read_cache(found, found.top(tag, digest), host_platform(), "it")


def test_what_is_written_is_read_again_and_is_a_layout(tmp_path: Path) -> None:
    manifest = write(tmp_path)
    assert read(tmp_path) == CONTENT
    assert read(tmp_path, digest=digest_of(manifest)) == CONTENT
    assert json.loads((tmp_path / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    for path in (tmp_path / "blobs/sha256").iterdir():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
    taken = Buffer()
    source(tmp_path).blob(LAYER.blob, taken)
    assert taken.content() == BLOB
    fds = len(os.listdir("/proc/self/fd"))
    read(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == fds


def test_other_tags_stay_and_one_tag_means_the_last_cache(tmp_path: Path) -> None:
    write(tmp_path, tag="other", content=CacheContent())
    write(tmp_path)
    write(tmp_path)
    assert read(tmp_path) == CONTENT
    assert read(tmp_path, "other") == CacheContent()
    with pytest.raises(NotFound, match="nothing with the tag 'none'"):
        read(tmp_path, "none")
    assert len(json.loads((tmp_path / "index.json").read_bytes())["manifests"]) == 2


def test_a_directory_without_a_cache_says_so(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        read(tmp_path)
    for wrong in ("{", "[]", '{"schemaVersion": 2, "manifests": 1}', "x" * (5 << 20)):
        (tmp_path / "index.json").write_text(wrong)
        with pytest.raises(InvalidArgument):
            read(tmp_path)


@pytest.mark.parametrize("digest", ["sha256:../../../etc/passwd", "../x", "sha256:" + "A" * 64, "sha512:" + "a" * 128])
def test_nothing_is_read_that_is_not_called_by_a_digest(tmp_path: Path, digest: str) -> None:
    write(tmp_path)
    index = json.loads((tmp_path / "index.json").read_bytes())
    index["manifests"][0]["digest"] = digest
    (tmp_path / "index.json").write_text(json.dumps(index))
    with pytest.raises(CortenError):
        read(tmp_path)


def test_no_link_is_followed_and_nothing_but_files_is_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(BLOB)
    cache = tmp_path / "cache"
    cache.mkdir()
    manifest = write(cache)
    blob = cache / "blobs/sha256" / LAYER.blob.digest[7:]
    blob.unlink()
    blob.symlink_to(secret)
    with pytest.raises(OSError):
        source(cache).blob(LAYER.blob, Buffer())
    blob.unlink()
    os.mkfifo(blob)
    with pytest.raises(CortenError):
        source(cache).blob(LAYER.blob, Buffer())
    blob.unlink()
    blob.mkdir()
    before = os.listdir("/proc/self/fd")
    for _ in range(3):
        with pytest.raises(InvalidArgument, match="is no file"):
            source(cache).blob(LAYER.blob, Buffer())
    assert os.listdir("/proc/self/fd") == before
    (cache / "blobs").rename(tmp_path / "blobs")
    (cache / "blobs").symlink_to(tmp_path / "blobs")
    with pytest.raises(OSError):
        read(cache, digest=digest_of(manifest))
    outside = tmp_path / "outside"
    outside.mkdir()
    (cache / "blobs").unlink()
    (cache / "blobs").symlink_to(outside)
    with pytest.raises(OSError):
        write(cache)
    assert list(outside.iterdir()) == []


def test_what_is_not_what_its_name_says_is_refused(tmp_path: Path) -> None:
    manifest = write(tmp_path)
    path = tmp_path / "blobs/sha256" / digest_of(manifest)[7:]
    path.write_bytes(manifest.replace(b"2", b"3", 1))
    with pytest.raises(DataLoss):
        read(tmp_path)
    (tmp_path / "blobs/sha256" / LAYER.blob.digest[7:]).write_bytes(b"short")
    with pytest.raises(DataLoss):
        source(tmp_path).blob(LAYER.blob, Buffer())


def test_what_breaks_off_leaves_the_old_cache(tmp_path: Path) -> None:
    write(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    class Broken(Exception):
        pass

    def broken() -> None:
        raise Broken

    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with pytest.raises(Broken):
            write_layout(
                fd,
                blobs=[(descriptor(b"new", OCI_LAYER_GZIP), lambda: io.BytesIO(b"new"))],
                manifest=descriptor(b"m", OCI_MANIFEST),
                tag="latest",
                check=broken,
            )
    finally:
        os.close(fd)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_what_a_client_passes_is_opened_by_its_own_path_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path)
    passed = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    try:
        contexts, directories = split_passed({"": 99, "named": 98, "cache:/home/me/cache": passed}, ROOT)
        assert contexts == {"": 99, "named": 98}
        found = LayoutSource(lambda: directories.open("/home/me/cache"))
        assert read_cache(found, found.top("latest", ""), host_platform(), "it") == CONTENT
        with pytest.raises(InvalidArgument, match="/etc cannot be reached"):
            directories.open("/etc")
    finally:
        os.close(passed)
