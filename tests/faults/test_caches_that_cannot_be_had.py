"""Caches and base images whose registry fails, lies or goes away while they are needed."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.lab import images
from tests.lab.classic_build import NOTHING, BuildFailed, build, cached_steps, to
from tests.lab.daemon import Daemon, running_daemon

from corten.testing.made_images import MANIFEST, digest_of
from corten.testing.registry import FakeRegistry, Fault

DOCKERFILE = """\
FROM {base}
RUN head -c 100000 /dev/urandom > /random
RUN echo more > /more
"""
WITHOUT = "the build goes on without imported caches"


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as one:
        yield one


@pytest.fixture
def engine() -> Iterator[Daemon]:
    with running_daemon() as one:
        one.docker("load", "-i", str(images.busybox()))
        yield one


@pytest.fixture
def base(registry: FakeRegistry, engine: Daemon) -> str:
    name = f"{registry.host}/base/busybox:1"
    engine.docker("tag", "busybox", name)
    engine.docker("push", name)
    engine.docker("rmi", name)
    return name


@pytest.fixture
def context(tmp_path: Path, base: str) -> Path:
    (tmp_path / "Dockerfile").write_text(DOCKERFILE.format(base=base))
    return tmp_path


def forget(engine: Daemon) -> None:
    """Let the engine have nothing."""
    engine.docker("rmi", "-f", *set(engine.out("images", "-aq").split()))
    engine.docker("builder", "prune", "-af")
    assert blobs(engine) == set()


def blobs(engine: Daemon) -> set[str]:
    return {path.name for path in (engine.data_root / "content/blobs/sha256").iterdir()}


def exported(registry: FakeRegistry, engine: Daemon, context: Path) -> tuple[str, list[str]]:
    """A cache at the registry, and the digests of its layers, lowest first."""
    name = f"{registry.host}/app/cache:1"
    build(engine, context, t="app:1", cacheto=to("registry", ref=name, mode="max"))
    _type, raw = registry.manifests["app/cache", "1"]
    forget(engine)
    return name, [layer["digest"] for layer in json.loads(raw)["layers"]]


def test_a_cache_that_is_not_there_is_a_warning(registry: FakeRegistry, engine: Daemon, context: Path) -> None:
    registry.add_manifest("app/broken", "1", b"{", MANIFEST)
    registry.add_image("app/plain", "1")
    with FakeRegistry() as away:
        gone = f"{away.host}/app/cache:1"
    names = [f"{registry.host}/app/nothing:1", f"{registry.host}/app/broken:1", gone]
    said = build(engine, context, cachefrom=[*names, f"{registry.host}/app/plain:1"], t="app:1")
    for name in names:
        assert f"[Warning] importing the cache from {name} failed: " in said
    assert f"[Warning] {registry.host}/app/plain:1 has no build cache of Corten's" in said
    assert cached_steps(said) == 0
    assert engine.out("run", "--rm", "--network", "none", "app:1", "cat", "/more") == "more"


@pytest.mark.parametrize("how", ["corrupt", "missing", "short"])
def test_a_layer_that_is_not_what_the_cache_has_said_is_made_anew(
    registry: FakeRegistry, engine: Daemon, context: Path, how: str
) -> None:
    name, layers = exported(registry, engine, context)
    good = registry.blobs[layers[-1]]
    if how == "missing":
        del registry.blobs[layers[-1]]
    else:
        registry.blobs[layers[-1]] = good[:-9] + bytes(9) if how == "corrupt" else good[:-9]
    said = build(engine, context, cachefrom=[name], t="app:1")
    assert WITHOUT in said
    assert engine.out("run", "--rm", "--network", "none", "app:1", "cat", "/more") == "more"
    assert cached_steps(build(engine, context, t="app:2")) == 2


def test_a_layer_that_is_gone_when_the_result_is_pushed_is_made_anew(
    registry: FakeRegistry, engine: Daemon, context: Path
) -> None:
    """All steps were in the cache, so that nothing has asked for their layers until another registry lacks them."""
    name, layers = exported(registry, engine, context)
    del registry.blobs[layers[-1]]
    with FakeRegistry() as other:
        push = [{"Type": "registry", "Attrs": {"name": f"{other.host}/app:1", "store": "false"}}]
        said = build(engine, context, cachefrom=[name], outputs=push)
        assert WITHOUT in said
        manifest = json.loads(other.manifests["app", "1"][1])
        assert {layer["digest"] for layer in manifest["layers"]} <= other.blobs.keys()


def test_an_import_leads_nowhere_out_of_a_layer(registry: FakeRegistry, engine: Daemon, context: Path) -> None:
    name, layers = exported(registry, engine, context)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        link = tarfile.TarInfo("out")
        link.type, link.linkname = tarfile.SYMTYPE, "../../../../../../.."
        tar.addfile(link)
        for path in ("out/corten-was-here", "../../../../../corten-was-here", "/corten-was-here"):
            tar.addfile(tarfile.TarInfo(path))
    blob = gzip.compress(packed.getvalue(), mtime=0)
    old, new = layers[-1], registry.add_blob("app/cache", blob)
    kind, raw = registry.manifests["app/cache", "1"]
    manifest = json.loads(raw)
    config = json.loads(registry.blobs[manifest["config"]["digest"]])
    for layer in config["layers"]:
        if layer["blob"] == old:
            layer["blob"] = new
            layer["annotations"].update(diffID=digest_of(packed.getvalue()), size=len(blob))
    changed = registry.add_blob("app/cache", json.dumps(config).encode())
    manifest["config"].update(digest=changed, size=len(registry.blobs[changed]))
    manifest["layers"][-1].update(digest=new, size=len(blob))
    registry.add_manifest("app/cache", "1", json.dumps(manifest).encode(), kind)
    build(engine, context, cachefrom=[name], t="app:1")
    assert not Path("/corten-was-here").exists()
    assert all("snapshots" in path.parts for path in engine.data_root.rglob("*corten-was-here"))


def test_a_base_that_breaks_off_ends_the_build_and_the_next_one_goes_on(
    registry: FakeRegistry, engine: Daemon, context: Path
) -> None:
    forget(engine)
    layer = json.loads(registry.manifests["base/busybox", "1"][1])["layers"][0]["digest"]
    registry.faults.append(Fault(path=layer, times=99, status=404))
    with pytest.raises(BuildFailed):
        build(engine, context, t="app:1")
    assert engine.out("images", "-q") == ""
    assert blobs(engine) == set()
    registry.faults.clear()
    build(engine, context, t="app:1")
    assert engine.out("run", "--rm", "--network", "none", "app:1", "cat", "/more") == "more"


def test_kill_9_while_imported_layers_come_leaves_nothing_that_harms(
    registry: FakeRegistry, engine: Daemon, context: Path
) -> None:
    name, layers = exported(registry, engine, context)
    gate = registry.gate(layers[1], 50)
    failed: list[BaseException] = []

    def work() -> None:
        try:
            build(engine, context, cachefrom=[name], t="app:1")
        except Exception as error:
            failed.append(error)

    client = threading.Thread(target=work)
    client.start()
    deadline = time.monotonic() + 30
    while not registry.count("GET", layers[1]) and time.monotonic() < deadline:
        time.sleep(0.02)
    engine.kill()
    gate.set()
    client.join(30)
    assert failed
    engine.start()
    assert engine.out("images", "-q") in ("", engine.out("images", "-q", f"{registry.host}/base/busybox"))
    said = build(engine, context, cachefrom=[name], t="app:1")
    assert cached_steps(said) == 2
    assert WITHOUT not in said
    assert engine.out("run", "--rm", "--network", "none", "app:1", "cat", "/more") == "more"


def test_a_cache_that_cannot_be_written_fails_the_build_unless_that_is_a_warning(
    registry: FakeRegistry, engine: Daemon, context: Path
) -> None:
    name = f"{registry.host}/app/cache:1"
    registry.faults.append(Fault(path="/app/cache/blobs/uploads", method="POST", times=99, status=403))
    with pytest.raises(BuildFailed, match=f"exporting the cache to {name} failed"):
        build(engine, context, t="app:1", cacheto=to("registry", ref=name))
    said = build(engine, context, t="app:1", cacheto=to("registry", **{"ref": name, "ignore-error": "true"}))
    assert f"[Warning] exporting the cache to {name} failed" in said
    assert ("app/cache", "1") not in registry.manifests
    registry.faults.clear()
    build(engine, context, outputs=NOTHING, cacheto=to("registry", ref=name))
    assert ("app/cache", "1") in registry.manifests
