"""A push to a registry that fails in each of the known ways: all of the image under its tag, or a clear error and no tag.

A fault is one row of PUSHES.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from corten.errors import CortenError
from corten.registry import upload
from corten.registry.credentials import Credentials
from corten.registry.timings import Timings
from corten.testing.made_images import digest_of
from corten.testing.registry import FakeRegistry, Fault

from .conftest import collect

QUICK = Timings(connect_s=30, stall_s=30, retry_base_s=0.001, retry_cap_s=0.002, attempts=3)
FOREVER = 999
_NOISE = random.Random(5).randbytes(24_000)
_FILES = [{"below": _NOISE}, {"above": b"top"}]
UPLOADS = "/blobs/uploads/"


@dataclass(frozen=True)
class Row:
    """A fault by name; `says` is what the error matches, empty when all is there in the end."""

    name: str
    faults: Callable[[], list[Fault]]
    says: str = ""


def once(method, path, **what):
    return lambda: [Fault(method=method, path=path, **what)]


def always(method, path, **what):
    return once(method, path, times=FOREVER, **what)


STEPS = (("HEAD", "/blobs/"), ("POST", UPLOADS), ("PATCH", UPLOADS), ("PUT", UPLOADS), ("PUT", "/manifests/"))
PUSHES = [
    *(
        Row(f"{status} once at {method} {path}", once(method, path, status=status))
        for method, path in STEPS
        for status in (429, 500, 503)
    ),
    *(
        Row(f"{status} for good at {method} {path}", always(method, path, status=status), says)
        for method, path in STEPS
        for status, says in ((401, "unauthorized"), (403, "denied"), (500, "500"), (503, "503"))
    ),
    *(Row(f"reset at {method} {path}", once(method, path, raw=b"")) for method, path in STEPS),
    *(
        Row(f"reset within the body of {method} {path}", once(method, path, take=100))
        for method, path in STEPS
        if method in {"PATCH", "PUT"}
    ),
    Row("reset for good", always("PATCH", UPLOADS, take=0), "reset|EOF|broken"),
    *(Row(f"chunks are refused with {n}", always("PATCH", UPLOADS, status=n)) for n in (400, 404, 405, 413, 416, 501)),
    Row("the upload is forgotten", lambda: [
        Fault(method="PATCH", path=UPLOADS, skip=1, take=10), Fault(method="GET", path=UPLOADS, status=404),
    ]),
    Row("the upload cannot be asked for a moment", lambda: [
        Fault(method="PATCH", path=UPLOADS, skip=1, take=10), Fault(method="GET", path=UPLOADS, status=503),
    ]),
    Row("no place to upload to", always("POST", UPLOADS, status=202), "named no place to upload to"),
    Row("another digest of the manifest", always("PUT", "/manifests/", headers={"Docker-Content-Digest": "sha256:" + "0" * 64}), "stored the manifest"),
    Row("a redirect that keeps the method", once("PUT", "/manifests/", status=307, headers={"Location": "/v2/copy/manifests/1"})),
    Row("a redirect that does not", always("PUT", "/manifests/", status=302, headers={"Location": "/v2/copy/manifests/1"}), "302"),
    Row("a redirect without end", always("PUT", "/manifests/", status=308, headers={"Location": "/v2/copy/manifests/1"}), "stopped after 10 redirects"),
]  # fmt: skip


@pytest.fixture
def chunks(monkeypatch):
    """Chunks that a small layer has several of."""
    monkeypatch.setattr(upload, "CHUNK", 8 << 10)


@pytest.fixture
async def pushing(make_engine, registry):
    """An engine with an image to push."""
    engine = make_engine(timings=QUICK)
    engine.made = registry.add_image("demo", files=_FILES)
    await collect(engine.transfer.pull(f"{registry.host}/demo", "latest"))
    return engine


async def push(engine, target, **options):
    name = f"{target.host}/copy"
    await engine.images.tag(engine.made.image_id, name, "1")
    return await collect(engine.transfer.push(name, "1", **options))


def is_whole(target, made):
    assert target.manifests[("copy", "1")][1] == made.manifest
    held = target.repository_blobs["copy"]
    assert {digest_of(data) for data in (made.config, *made.layers)} <= held
    assert all(digest_of(target.blobs[digest]) == digest for digest in held)


@pytest.mark.parametrize("row", PUSHES, ids=lambda row: row.name)
async def test_a_push_brings_all_or_names_nothing(pushing, chunks, row):
    with FakeRegistry() as target:
        target.faults += row.faults()
        if row.says:
            with pytest.raises(CortenError, match=row.says):
                await push(pushing, target)
            assert ("copy", "1") not in target.manifests or "manifest" in row.name
        else:
            await push(pushing, target)
            is_whole(target, pushing.made)
        assert not pushing.library._leases.held()
        target.faults.clear()
        await push(pushing, target)
        is_whole(target, pushing.made)


async def test_an_upload_that_is_cut_at_each_kilobyte_is_taken_up_and_no_byte_sent_twice(pushing, chunks):
    layer = pushing.made.layers[0]
    size = len(pushing.made.config) + sum(map(len, pushing.made.layers))
    for cut in range(0, len(layer) - (8 << 10), 1024):
        with FakeRegistry() as target:
            target.faults.append(Fault(method="PATCH", path=UPLOADS, skip=cut // (8 << 10), take=cut % (8 << 10)))
            await push(pushing, target)
            is_whole(target, pushing.made)
            assert target.received == size


async def test_a_registrys_least_chunk_is_kept_to(pushing, chunks):
    with FakeRegistry() as target:
        target.chunk_min = 20_000
        await push(pushing, target)
        is_whole(target, pushing.made)
        sizes = [int(h["Content-Length"]) for m, _, h in target.requests if m == "PATCH"]
        assert sizes == [20_000, len(pushing.made.layers[0]) - 20_000]


async def test_refused_chunks_are_not_tried_again_in_the_same_push(pushing, chunks):
    with FakeRegistry() as target:
        target.chunks = False
        await push(pushing, target)
        is_whole(target, pushing.made)
        assert target.count("PATCH", UPLOADS) == 1
        assert target.uploads == {}


async def test_an_upload_whose_last_answer_is_lost_is_found_to_be_there(pushing):
    """The registry has taken the blob, and the connection ends before it says so."""
    with FakeRegistry() as target:
        target.faults.append(Fault(method="PUT", path=UPLOADS, cut_after=0, headers={"Content-Length": "9"}))
        await push(pushing, target)
        is_whole(target, pushing.made)


async def test_a_declined_mount_is_gone_on_with_as_the_upload_it_opened(pushing, registry):
    registry.allow_mount = False
    await push(pushing, registry)
    is_whole(registry, pushing.made)
    opened = [path for method, path, _ in registry.requests if method == "POST"]
    assert len(opened) == 3
    assert all("from=demo" in path for path in opened)
    assert registry.uploads == {}


async def test_a_mount_asks_for_a_token_that_reads_the_source_too(make_engine):
    with FakeRegistry(tokens=True, users={"u": "p"}) as registry:
        engine, who = make_engine(timings=QUICK), Credentials(username="u", password="p")
        engine.made = registry.add_image("demo", files=_FILES)
        await collect(engine.transfer.pull(f"{registry.host}/demo", "latest", credentials=who))
        await push(engine, registry, credentials=who)
        is_whole(registry, engine.made)
        asked = [path for _, path, _ in registry.requests if path.startswith("/token")]
        assert any("repository%3Acopy%3Apull%2Cpush" in p and "repository%3Ademo%3Apull" in p for p in asked)
        assert registry.received == 0
