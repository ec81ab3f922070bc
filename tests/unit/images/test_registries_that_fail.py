"""A pull from a registry that fails in each of the known ways: a right image or a clear error, never a half one.

A fault is one row of PULLS: what goes wrong, and what the pull says of it, or nothing when it gets over it.
"""

import asyncio
import gzip
import json
import random
import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from corten.engine.images.catalog import ImageNotFound
from corten.errors import CortenError
from corten.registry.credentials import Credentials
from corten.registry.timings import Timings
from corten.testing.made_images import INDEX, digest_of
from corten.testing.registry import FakeRegistry, Fault

from .conftest import collect

QUICK = Timings(connect_s=30, stall_s=30, retry_base_s=0.001, retry_cap_s=0.002, attempts=3)
# for silence that is meant: elsewhere a busy machine would be taken for a silent registry
IMPATIENT = replace(QUICK, stall_s=0.4, floor_bytes=4000)
FOREVER = 999
_NOISE = random.Random(3).randbytes(40_000)
_FILES = [{"below": _NOISE}, {"above": b"top"}]
_SMALL = [{"below": _NOISE[:12_000]}, {"above": b"top"}]
KINDS = ("manifest", "config", "layer")
LATER = {"Retry-After": "3600"}


@dataclass(frozen=True)
class Row:
    """A fault by name; `says` is what the error matches, empty for an image that is right in the end."""

    name: str
    fault: Callable[..., list[Fault]]
    says: str = ""
    twice: bool = False  # whether bytes may have been fetched twice
    timings: Timings = QUICK


def at(kind, image):
    """The part of a path that requests of this kind have."""
    layer = digest_of(image.layers[0])
    return {"manifest": "/manifests/", "config": f"/blobs/{image.image_id}", "layer": f"/blobs/{layer}"}[kind]


def once(kind, **what):
    return lambda image: [Fault(path=at(kind, image), **what)]


def always(kind, **what):
    return lambda image: [Fault(path=at(kind, image), times=FOREVER, **what)]


def heads(image, **what):
    return Fault(path="/manifests/", method="HEAD", times=FOREVER, **what)


def edited(**changes):
    """The manifest with other fields; one that is None is left out."""

    def change(body):
        document = {**json.loads(body), **changes}
        return json.dumps({key: value for key, value in document.items() if value is not ...}).encode()

    def fault(image):
        raw = change(image.manifest)
        told = {"Docker-Content-Digest": digest_of(raw)}
        return [Fault(path="/manifests/", times=FOREVER, change=change, headers=told)]

    return fault


def with_layers(edit):
    """The manifest with its layers edited."""

    def fault(image):
        layers = json.loads(image.manifest)["layers"]
        return edited(layers=edit(layers))(image)

    return fault


def layer_with(**changes):
    return with_layers(lambda layers: [{**layers[0], **changes}, *layers[1:]])


def compressed(level):
    return lambda body: gzip.compress(gzip.decompress(body), level, mtime=1)


def redirected(kind, location, **what):
    return always(kind, status=307, headers={"Location": location}, **what)


def coded(body):
    return zlib.compress(body, wbits=31)


PULLS = [
    # refusals that pass are tried again, others are told
    *(Row(f"{status} once at the {kind}", once(kind, status=status)) for status in (429, 500, 503) for kind in KINDS),
    *(
        Row(f"{status} for good at the {kind}", always(kind, status=status), says)
        for kind in KINDS
        for status, says in (
            (401, "unauthorized|authentication required"),
            (403, "denied"),
            (404, "not found|404"),
            (429, "toomanyrequests"),
            (500, "500"),
            (503, "503"),
        )
    ),
    Row("429 for an hour", once("layer", status=429, headers=LATER), "toomanyrequests"),
    Row("429 until a date that has gone", once("layer", status=429, headers={"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"})),
    Row("503 with a pause of none", once("manifest", status=503, headers={"Retry-After": "0"})),
    # connections that end
    *(Row(f"reset before the head at the {kind}", once(kind, raw=b"")) for kind in KINDS),
    *(Row(f"reset within the head at the {kind}", once(kind, raw=b"HTTP/1.1 200 OK\r\nContent-Le")) for kind in KINDS),
    Row("reset for good", always("layer", raw=b"HTTP/1."), "reset|EOF"),
    Row("no HTTP at all", always("manifest", raw=b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), "EOF|BadStatusLine|reset"),
    Row("cut at once for good", always("layer", cut_after=0), "unexpected EOF"),
    *(Row(f"cut after {n} bytes", once("layer", cut_after=n)) for n in (0, 1, 511, 39_999)),
    Row("cut thirty times", lambda image: [Fault(path=at("layer", image), cut_after=777, times=30)]),
    Row("the manifest is cut", once("manifest", cut_after=100), twice=True),
    Row("the configuration is cut", once("config", cut_after=50)),
    # connections that are silent, or nearly
    Row("stalls in the middle", once("layer", cut_after=9_000, stall=threading.Event()), timings=IMPATIENT),
    Row("stalls before the first byte", once("layer", cut_after=0, stall=threading.Event()), timings=IMPATIENT),
    Row("stalls for good", always("layer", cut_after=0, stall=threading.Event()), "Client.Timeout exceeded", timings=IMPATIENT),
    Row("drips slower than anybody waits for", once("layer", drip=40, pause_s=0.02), twice=True, timings=IMPATIENT),
    Row("the head drips", once("layer", raw=b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 90, drip=2, pause_s=0.1), timings=IMPATIENT),
    Row("drips, but fast enough", once("layer", drip=1000, pause_s=0.001), timings=IMPATIENT),
    # other bytes than promised
    Row("one bit is wrong once", once("layer", corrupt=True), twice=True),
    Row("one bit is wrong for good", always("layer", corrupt=True), "wanted sha256"),
    Row("the configuration is wrong", always("config", corrupt=True), "verification failed for digest"),
    Row("the manifest is wrong", always("manifest", corrupt=True), "manifest verification failed"),
    Row("a shorter blob", always("layer", change=lambda body: body[:-1]), "EOF|wanted sha256|416|range"),
    Row("a longer blob", always("layer", change=lambda body: body + b"x"), "more than the expected"),
    Row("half of it, said to be all", always("layer", change=lambda body: body[:20_000], ignore_range=True), "EOF"),
    Row("compressed anew", always("layer", change=compressed(1)), "wanted sha256|more than|EOF"),
    Row("coded on the way", always("layer", change=coded, headers={"Content-Encoding": "gzip"}), "wanted sha256|more than"),
    # ranges that are none
    Row("the range is ignored", lambda i: [Fault(path=at("layer", i), cut_after=9_000), *always("layer", ignore_range=True)(i)], twice=True),
    *(
        Row(
            f"206 with the range {text!r}",
            lambda i, t=text: [
                Fault(path=at("layer", i), cut_after=9_000),
                *always("layer", headers={"Content-Range": t})(i),
            ],
            says,
        )
        for text, says in (
            ("", "without a valid range"),
            ("bytes 0-5", "without a valid range"),
            ("bytes 20000-40000/*", "begins behind"),
            ("pages 1-2/3", "without a valid range"),
        )
    ),
    Row(
        "206 for a blob of another size",
        lambda i: [Fault(path=at("layer", i), cut_after=9_000), *once("layer", headers={"Content-Range": "bytes 9000-98/99"})(i)],
        twice=True,
    ),
    Row("416 once", lambda i: [Fault(path=at("layer", i), cut_after=9_000), *once("layer", status=416)(i)], twice=True),
    # redirects
    Row("a redirect that leads back", redirected("layer", "/v2/demo/blobs/loop") , "stopped after|404|blob unknown"),
    Row("a redirect to itself", lambda i: redirected("layer", f"/v2/demo{at('layer', i)}")(i), "stopped after 10 redirects"),
    Row("a redirect to a file", redirected("layer", "file:///etc/passwd"), "unsupported protocol scheme"),
    Row("a redirect to nobody", redirected("layer", "http://127.0.0.1:1/x"), "connection refused"),
    Row("a redirect without a place", always("layer", status=307), "307"),
    # manifests that confuse
    Row("a manifest and an index", edited(manifests=[]), "ambiguous manifest"),
    Row("another media type inside", edited(mediaType=INDEX), "but it was served as"),
    Row("an unknown media type", edited(mediaType="application/x-what"), "but it was served as|unsupported"),
    Row("schema 1", edited(schemaVersion=1), "schema 1 is no longer supported"),
    Row("schema 3", edited(schemaVersion=3), "unsupported manifest schema version 3"),
    Row("no configuration", edited(config=None), "invalid image document"),
    Row("no layers", edited(layers=None), "invalid image document"),
    Row("a null for a layer", with_layers(lambda layers: [None, *layers]), "invalid image document"),
    Row("a layer too many", with_layers(lambda layers: [*layers, layers[0]]), "3 layers, but its configuration lists 2"),
    Row("a layer too few", with_layers(lambda layers: layers[:1]), "1 layers, but its configuration lists 2"),
    Row("layers in another order", with_layers(lambda layers: layers[::-1]), "diff id|wanted sha256|diffID"),
    Row("the same layer twice", with_layers(lambda layers: [layers[0]] * 2), "diff id|wanted sha256|diffID"),
    Row("a negative size", layer_with(size=-1), "negative size"),
    Row("a size beyond all", layer_with(size=1 << 62), "bytes, expected|EOF|too large|exceeds"),
    Row("a size beyond numbers", layer_with(size=1 << 90), "no 64-bit number"),
    Row("no digest", layer_with(digest="sha256:x"), "valid sha256 digest"),
    Row("another digest", layer_with(digest="sha256:" + "0" * 64), "blob unknown"),
    Row("a foreign layer", layer_with(mediaType="application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"), "foreign layer"),
    Row("a layer of a kind nobody knows", layer_with(mediaType="application/x-layer"), "unsupported media type"),
    Row(
        "an artifact",
        edited(config={"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest_of(b"{}"), "size": 2}),
        "is no container image",
    ),
    Row("no JSON", always("manifest", change=lambda _: b"<html>", headers={"Docker-Content-Digest": digest_of(b"<html>")}), "invalid image document"),
    Row("nothing", always("manifest", change=lambda _: b"", headers={"Docker-Content-Digest": digest_of(b"")}), "invalid image document"),
]  # fmt: skip


async def pull(engine, registry):
    return await collect(engine.transfer.pull(f"{registry.host}/demo", "latest"))


def release(registry):
    """End what the rows' faults hold up."""
    for fault in registry.faults:
        if fault.stall is not None:
            fault.stall.set()
    registry.faults.clear()


def is_whole(engine, registry, image):
    """The image is here with all its bytes, and says so."""
    entry = engine.library.catalog.get(image.image_id)
    assert engine.images.resolve(f"{registry.host}/demo").id == image.image_id
    assert all(engine.library.read_blob(digest, 1 << 20) for digest in entry.blobs)
    tars = [tar for _, tar in engine.layers.tars.values()]
    assert sorted(digest_of(tar) for tar in tars) == sorted(image.diff_ids)
    assert engine.ingests() == []


def is_absent(engine, registry):
    """Nothing has the name, and no layer is here but as what can be built upon."""
    with pytest.raises(ImageNotFound):
        engine.images.resolve(f"{registry.host}/demo")
    assert len(engine.library.catalog) == 0
    assert engine.records.list() == []
    assert all(engine.library.read_blob(digest, 1 << 20) for digest in engine.digests())


@pytest.mark.parametrize("row", PULLS, ids=lambda row: row.name)
async def test_a_pull_gives_a_right_image_or_a_clear_error(make_engine, registry, row):
    image = registry.add_image("demo", files=_FILES)
    layer = digest_of(image.layers[0])
    engine = make_engine(timings=row.timings)
    registry.faults += row.fault(image)
    try:
        if row.says:
            with pytest.raises(CortenError, match=row.says):
                await pull(engine, registry)
            is_absent(engine, registry)
        else:
            await pull(engine, registry)
            is_whole(engine, registry, image)
    finally:
        release(registry)
    assert not engine.library._leases.held()
    if not row.says:
        assert registry.served[layer] == len(image.layers[0]) or row.twice
    # what went wrong leaves nothing behind that a right registry cannot set right
    await pull(engine, registry)
    is_whole(engine, registry, image)
    assert not engine.library._leases.held()


TOKENS = [
    *(Row(f"{status} once", lambda s=status: [Fault(path="/token", status=s)]) for status in (429, 500, 503)),
    *(
        Row(f"{status} for good", lambda s=status: [Fault(path="/token", status=s, times=FOREVER)], says)
        for status, says in ((401, "unauthorized"), (403, "denied"), (404, "404"), (429, "toomanyrequests"), (500, "500"))
    ),
    Row("reset", lambda: [Fault(path="/token", raw=b"")]),
    Row("no JSON", lambda: [Fault(path="/token", status=200, body=b"<html>", times=FOREVER)], "sent no valid answer"),
    Row("no token", lambda: [Fault(path="/token", status=200, body=b"{}", times=FOREVER)], "did not include a token"),
    Row("too much", lambda: [Fault(path="/token", status=200, body=b" " * (1 << 20), times=FOREVER)], "larger than the limit"),
    Row("a token that is refused", lambda: [Fault(path="/token", status=200, body=b'{"token":"x"}', times=FOREVER)], "unauthorized"),
    Row("a token that ends a header", lambda: [Fault(path="/token", status=200, body=b'{"token":"a\\r\\nb: c"}', times=FOREVER)], "did not include a token"),
]  # fmt: skip


@pytest.mark.parametrize("row", TOKENS, ids=lambda row: row.name)
async def test_a_token_server_that_fails_gives_a_right_image_or_a_clear_error(make_engine, row):
    with FakeRegistry(tokens=True) as registry:
        image = registry.add_image("demo", files=_SMALL)
        engine = make_engine(timings=QUICK)
        registry.faults += row.fault()
        if row.says:
            with pytest.raises(CortenError, match=row.says):
                await pull(engine, registry)
            is_absent(engine, registry)
            registry.faults.clear()
        await pull(engine, registry)
        is_whole(engine, registry, image)
        assert not engine.library._leases.held()


async def test_a_cut_at_each_kilobyte_is_survived_and_no_byte_comes_twice(make_engine, registry):
    image = registry.add_image("demo", files=_SMALL)
    layer, size = digest_of(image.layers[0]), len(image.layers[0])
    for cut in range(0, size, 1024):
        registry.faults.append(Fault(path=layer, cut_after=cut))
        registry.served.clear()
        engine = make_engine(f"at-{cut}", timings=QUICK)
        await pull(engine, registry)
        is_whole(engine, registry, image)
        assert registry.served[layer] == size


async def test_a_pull_that_failed_at_each_kilobyte_goes_on_after_a_restart(make_engine, registry):
    """The second engine knows nothing but what the first one left on the disk."""
    image = registry.add_image("demo", files=_SMALL)
    layer, size = digest_of(image.layers[0]), len(image.layers[0])
    hasty = replace(QUICK, attempts=1)
    for cut in range(0, size, 1024):
        registry.faults.append(Fault(path=layer, cut_after=cut))
        registry.served.clear()
        with pytest.raises(CortenError, match="unexpected EOF"):
            await pull(make_engine(f"at-{cut}", timings=hasty), registry)
        restarted = make_engine(f"at-{cut}", timings=hasty)
        is_absent(restarted, registry)
        await pull(restarted, registry)
        is_whole(restarted, registry, image)
        assert registry.served[layer] == size


async def test_a_pull_is_denied_in_the_middle_and_gets_another_token(make_engine):
    with FakeRegistry(tokens=True) as registry:
        image = registry.add_image("demo", files=_FILES)
        layer, size = digest_of(image.layers[0]), len(image.layers[0])
        engine = make_engine(timings=QUICK)
        header = f'Bearer realm="http://{registry.host}/token",service="fake",scope="repository:demo:pull"'
        gone = {"status": 401, "headers": {"WWW-Authenticate": header}}
        registry.faults += [Fault(path=layer, cut_after=10_000), Fault(path=layer, **gone)]
        await pull(engine, registry)
        is_whole(engine, registry, image)
        assert registry.served[layer] == size
        assert registry.count("GET", "/token") == 2


async def test_credentials_are_not_told_to_whom_a_redirect_leads(make_engine, registry):
    """CVE-2020-15157: the storage behind a registry asks for a login, and names a token server of its own."""
    with FakeRegistry(users={"u": "p"}) as front:
        image = front.add_image("demo", files=_FILES)
        layer = digest_of(image.layers[0])
        front.faults.append(Fault(path=layer, status=307, headers={"Location": f"http://{registry.host}/x"}, times=9))
        asks = f'Bearer realm="http://{registry.host}/token",service="x",scope="repository:demo:pull"'
        registry.faults.append(Fault(path="/x", status=401, headers={"WWW-Authenticate": asks}, times=9))
        messages = make_engine().transfer.pull(
            f"{front.host}/demo", "latest", credentials=Credentials(username="u", password="p")
        )
        with pytest.raises(CortenError, match="unauthorized"):
            await collect(messages)
        assert registry.count("GET", "/token") == 0
        assert all("Authorization" not in headers for _, _, headers in registry.requests)


async def test_giving_up_does_not_wait_for_a_registry_that_is_silent(make_engine, registry):
    """Neither a head that does not come nor the stall's long time limit holds the pull's end up."""
    image = registry.add_image("demo", files=_FILES)
    layer = digest_of(image.layers[0])
    silent = Fault(path=layer, raw=b"", stall=threading.Event())
    registry.faults.append(silent)
    engine = make_engine(timings=Timings(stall_s=3600))
    task = asyncio.ensure_future(pull(engine, registry))
    while not registry.count("GET", layer):
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    silent.stall.set()
    await pull(engine, registry)
    is_whole(engine, registry, image)
