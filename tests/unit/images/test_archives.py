"""Save, load and import: what goes out comes back the same, and nothing in an archive leads anywhere."""

import bz2
import gzip
import hashlib
import io
import json
import lzma
import tarfile
from functools import partial

import pytest
import zstandard

from corten.build.dockerfile.changes import apply_changes
from corten.engine.images.catalog import ImageNotFound
from corten.engine.images.tar_index import index_tar
from corten.errors import CortenError, InvalidArgument
from corten.spec.digest import short
from corten.testing.made_images import tar_of

from .conftest import body_of, collect


async def saved(engine, *names):
    return b"".join([chunk async for chunk in await engine.transfer.save(list(names))])


async def load(engine, data, **options):
    return await collect(engine.transfer.load(body_of(data), **options))


@pytest.fixture
async def filled(engine, registry):
    engine.made = registry.add_image("demo", files=[{"a": b"1" * 3000}, {"b": b"2"}])
    await collect(engine.transfer.pull(f"{registry.host}/demo", "latest"))
    await engine.images.tag(f"{registry.host}/demo", "demo", "1")
    await engine.images.tag("demo:1", "demo", "2")
    return engine


def archive(files, links=()):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, target in links:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            tar.addfile(entry)
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def docker_archive(layer, *, tags=("loaded:1",), layer_name="l/layer.tar", config_name="c.json", links=(), diff_id=""):
    diff = diff_id or "sha256:" + hashlib.sha256(layer).hexdigest()
    config = json.dumps(
        {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [diff]}}
    ).encode()
    manifest = [{"Config": config_name, "RepoTags": list(tags) or None, "Layers": [layer_name]}]
    files = {"manifest.json": json.dumps(manifest).encode(), "c.json": config, "l/layer.tar": layer}
    return archive(files, links), "sha256:" + hashlib.sha256(config).hexdigest()


async def test_a_saved_image_is_an_oci_layout_and_a_docker_archive(filled):
    data = await saved(filled, "demo")
    assert len(data) % 10240 == 0
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        files = {m.name: tar.extractfile(m).read() for m in tar if m.isfile()}
    manifest = json.loads(files["manifest.json"])
    assert manifest[0]["RepoTags"] == ["demo:1", "demo:2"]
    assert hashlib.sha256(files[manifest[0]["Config"]]).hexdigest() == filled.made.image_id[7:]
    assert [gzip.decompress(files[name])[:1] for name in manifest[0]["Layers"]] == [b"a", b"b"]
    index = json.loads(files["index.json"])
    assert [m["annotations"]["io.containerd.image.name"] for m in index["manifests"]] == [
        "docker.io/library/demo:1",
        "docker.io/library/demo:2",
    ]
    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    for name, content in files.items():
        if name.startswith("blobs/"):
            assert hashlib.sha256(content).hexdigest() == name.split("/")[2]


async def test_by_id_an_image_is_saved_without_tags(filled):
    data = await saved(filled, filled.made.image_id)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert json.load(tar.extractfile("manifest.json"))[0]["RepoTags"] is None


async def test_saving_what_is_not_there_says_so_before_anything_is_sent(engine):
    with pytest.raises(ImageNotFound, match="No such image: nope:latest"):
        await engine.transfer.save(["nope"])


@pytest.mark.parametrize(
    "pack", [bytes, gzip.compress, bz2.compress, lzma.compress, zstandard.ZstdCompressor().compress]
)
async def test_a_saved_image_loads_with_the_same_digests(filled, make_engine, pack):
    data = pack(await saved(filled, "demo"))
    other = make_engine("other")
    messages = await load(other, data)
    assert [m.stream for m in messages if m.stream] == ["Loaded image: demo:1\n", "Loaded image: demo:2\n"]
    assert other.images.resolve("demo:2").id == filled.made.image_id
    assert other.listing.inspect("demo:1").descriptor.digest == filled.made.digest
    assert other.ingests() == []
    assert other.actions() == ["load", "load"]


async def test_loading_tells_the_layers_unless_it_is_quiet(filled, make_engine):
    data = await saved(filled, "demo")
    told = await load(make_engine("one"), data)
    assert {m.id for m in told if m.status == "Loading layer"} == {short(d) for d in filled.made.diff_ids}
    quiet = await load(make_engine("two"), data, quiet=True)
    assert all(m.stream for m in quiet)


async def test_an_old_docker_archive_loads(engine):
    data, image_id = docker_archive(tar_of({"x": b"1"}))
    messages = await load(engine, data)
    assert messages[-1].stream == "Loaded image: loaded:1\n"
    assert engine.images.resolve("loaded:1").id == image_id


async def test_an_archive_without_tags_tells_the_id(engine):
    data, image_id = docker_archive(tar_of({"x": b"1"}), tags=())
    messages = await load(engine, data)
    assert messages[-1].stream == f"Loaded image ID: {image_id}\n"


async def test_a_tag_that_moves_is_announced(engine):
    first, old_id = docker_archive(tar_of({"x": b"1"}))
    second, _ = docker_archive(tar_of({"x": b"2"}))
    await load(engine, first)
    messages = await load(engine, second)
    text = f"The image loaded:1 already exists, renaming the old one with ID {old_id} to empty string\n"
    assert text in [m.stream for m in messages]
    assert engine.listing.inspect(old_id).repo_tags == []


@pytest.mark.parametrize("name", ["../../../etc/passwd", "/etc/passwd", "link", "dir/../l/layer.tar", "", "l"])
@pytest.mark.parametrize("part", ["layer_name", "config_name"])
async def test_names_in_an_archive_lead_nowhere(engine, name, part):
    data, _ = docker_archive(tar_of({"x": b"1"}), links=[("link", "/etc/passwd")], **{part: name})
    with pytest.raises(InvalidArgument, match="invalid archive"):
        await load(engine, data)
    assert len(engine.library.catalog) == 0


async def test_a_layer_that_is_not_what_the_configuration_says_is_refused(engine):
    data, _ = docker_archive(tar_of({"x": b"1"}), diff_id="sha256:" + "1" * 64)
    with pytest.raises(CortenError, match="layer verification failed"):
        await load(engine, data)
    assert engine.layers.tars == {}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no tar at all, but long enough to look at" * 30,
        bytes(1024),
        archive({"hello": b"x"}),
        archive({"manifest.json": b"{}"}),
        archive({"manifest.json": b"[null]"}),
        archive({"manifest.json": b"[" * 100_000}),
        archive({"index.json": b"{}", "oci-layout": b"{}"}),
        archive({"index.json": b'{"schemaVersion":2,"manifests":null}', "oci-layout": b"{}"}),
        gzip.compress(b"x" * 5000)[:-20],
        docker_archive(tar_of({"x": b"1"}))[0][:-11000],
    ],
    ids=range(11),
)
async def test_what_is_no_archive_is_refused_with_a_typed_error(engine, data):
    with pytest.raises(CortenError):
        await load(engine, data)
    assert len(engine.library.catalog) == 0
    assert list((engine.root / "spool").glob("*")) == []  # a small one needs no directory


async def test_an_import_makes_an_image_of_one_layer(engine):
    tar = tar_of({"bin/x": b"1"})
    messages = await collect(
        engine.transfer.import_image(
            body_of(gzip.compress(tar)),
            repository="made",
            tag="1",
            message="from a tar",
            change=partial(apply_changes, changes=['CMD ["/bin/x"]', 'ENV A=b C="d e"', "EXPOSE 80", "LABEL k=v"]),
        )
    )
    (message,) = messages
    found = engine.images.resolve("made:1")
    assert message.status == found.id
    assert found.config.diff_ids == ["sha256:" + hashlib.sha256(tar).hexdigest()]
    defaults = found.config.defaults
    assert (defaults.cmd, defaults.env) == (["/bin/x"], ["A=b", "C=d e"])
    assert (defaults.exposed_ports, defaults.labels) == ({"80/tcp": {}}, {"k": "v"})
    assert engine.listing.history("made:1")[0].comment == "from a tar"
    assert engine.actions() == ["import"]


async def test_a_bad_change_is_refused_before_the_body_is_read(engine):
    with pytest.raises(InvalidArgument, match="FOO is not a valid change command"):
        engine.transfer.import_image(body_of(b""), change=partial(apply_changes, changes=["FOO bar"]))


async def test_a_commit_adds_a_layer_to_its_parent(engine):
    data, _ = docker_archive(tar_of({"x": b"1"}))
    await load(engine, data)
    parent, _ = engine.library.catalog.lookup("loaded:1")
    image_id = await engine.transfer.commit(
        parent.id,
        lambda: io.BytesIO(tar_of({"y": b"2"})),
        parent.config.defaults,
        repository="child",
        created_by="sh",
    )
    entry = engine.library.catalog.get(image_id)
    assert entry.config.defaults == parent.config.defaults
    assert entry.config.diff_ids[:1] == parent.config.diff_ids
    assert engine.layers.tars[entry.chain_id][0] == parent.chain_id
    assert engine.listing.inspect("child").parent == parent.id
    assert len(await saved(engine, "child")) > 0


def test_headers_of_a_megabyte_are_read_in_one_go(tmp_path):
    def header(name, kind, size):
        block = bytearray(
            name.ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + b"%011o\0" % size + b"0" * 11 + b"\0"
        )
        block += b" " * 8 + kind + bytes(100) + b"ustar\x0000"
        block = block.ljust(512, b"\0")
        block[148:156] = b"%06o\0 " % sum(block)
        return bytes(block)

    many = b"6 a=b\n" * 170_000
    name = b"./" * 500_000 + b"x"
    long = b"%d path=%s\n" % (len(name) + 14, name)
    path = tmp_path / "archive"
    for extended in (many, long):
        path.write_bytes(
            header(b"h", b"x", len(extended)) + extended + bytes(-len(extended) % 512) + header(b"x", b"0", 0)
        )
        with open(path, "rb") as file:
            assert list(index_tar(file)) == ["x"]
