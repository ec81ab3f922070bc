"""Caches of builds at a real registry: carried out by one engine, brought in by another that has nothing else.

What is fetched is counted in the registry's own log: blobs that layers are, and those that documents are.
"""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.lab import images
from tests.lab.classic_build import NOTHING, BuildFailed, begin, build, built_id, cached_steps, to
from tests.lab.daemon import Daemon, running_daemon
from tests.lab.plugins import with_plugins
from tests.lab.registry import RealRegistry, real_registry

from corten.testing.registry import FakeRegistry

DOCKERFILE = """\
FROM {base} AS made
COPY a.txt /a.txt
RUN head -c 300000 /dev/urandom > /made
RUN true
FROM {base}
RUN head -c 200000 /dev/urandom > /random
COPY --from=made /made /made
ENV A=b
"""
STEPS = 6  # that the cache can have


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealRegistry]:
    with real_registry(tmp_path_factory.mktemp("registry")) as made:
        yield made


@pytest.fixture(scope="module")
def base(registry: RealRegistry) -> str:
    """A base image that only the registry has."""
    name = f"{registry.host}/base/busybox:1"
    with running_daemon() as engine:
        engine.docker("load", "-i", str(images.busybox()))
        engine.docker("tag", "busybox", name)
        engine.docker("push", name)
    return name


@pytest.fixture
def first() -> Iterator[Daemon]:
    with running_daemon() as engine:
        yield engine


@pytest.fixture
def second() -> Iterator[Daemon]:
    """An engine that has nothing."""
    with running_daemon() as engine:
        yield engine


@pytest.fixture
def context(tmp_path: Path, base: str) -> Path:
    root = tmp_path / "context"
    root.mkdir()
    (root / "a.txt").write_text("a\n")
    (root / "Dockerfile").write_text(DOCKERFILE.format(base=base))
    return root


def blobs_of(registry: RealRegistry, name: str) -> tuple[str, set[str]]:
    """The configuration and the layers of a manifest at the registry."""
    repository, _, tag = name.removeprefix(f"{registry.host}/").rpartition(":")
    request = urllib.request.Request(
        f"http://{registry.host}/v2/{repository}/manifests/{tag}",
        headers={"Accept": "application/vnd.oci.image.manifest.v1+json"},
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        found: dict[str, Any] = json.load(answer)
    return found["config"]["digest"], {layer["digest"] for layer in found["layers"]}


def test_a_build_that_an_imported_cache_has_fetches_no_layer(
    registry: RealRegistry, first: Daemon, second: Daemon, context: Path
) -> None:
    cache = f"{registry.host}/app/cache:max"
    made = build(first, context, t="app:1", cacheto=to("registry", ref=cache, mode="max"))
    assert cached_steps(made) == 0
    config, layers = blobs_of(registry, cache)
    before = len(registry.requests())
    found = build(second, context, cachefrom=[cache], outputs=NOTHING)
    assert cached_steps(found) == STEPS - 1  # of `made` all but what nothing looks at
    assert built_id(found) == built_id(made)
    fetched = [path.rpartition("/")[2] for path in registry.requests()[before:]]
    assert config in fetched
    assert not layers & set(fetched)
    assert len(fetched) == 2  # the cache's records, and the configuration of the base
    assert second.out("images", "-q") == ""
    assert "warning" not in second.log_text()
    # as an image it needs its layers, and is the same one
    build(second, context, cachefrom=[cache], t="app:1")
    assert second.inspect("app:1")["Id"] == first.inspect("app:1")["Id"]
    program = ["run", "--rm", "--network", "none", "app:1", "sha256sum", "/made", "/random"]
    assert second.out(*program) == first.out(*program)
    fetched = [path.rpartition("/")[2] for path in registry.requests()[before:]]
    assert len(layers & set(fetched)) == len(layers) - 1 - 1  # without COPY a.txt and RUN of the other stage
    # and what came is the engine's own cache from then on
    before = len(registry.requests())
    assert cached_steps(build(second, context, t="app:2")) == STEPS - 1
    assert not layers & {path.rpartition("/")[2] for path in registry.requests()[before:]}
    assert second.inspect("app:2")["Id"] == first.inspect("app:1")["Id"]


@pytest.mark.parametrize("asked", ["argument", "option"])
def test_an_image_carries_the_cache_of_its_own_steps(
    registry: RealRegistry, first: Daemon, second: Daemon, context: Path, asked: str
) -> None:
    image = f"{registry.host}/app/inline:{asked}"
    how = {"buildargs": {"BUILDKIT_INLINE_CACHE": "1"}} if asked == "argument" else {"cacheto": to("inline")}
    build(first, context, t=image, **how)
    first.docker("push", image)
    config, layers = blobs_of(registry, image)
    before = len(registry.requests())
    found = build(second, context, cachefrom=[image], outputs=NOTHING)
    assert cached_steps(found) == STEPS - 1
    fetched = {path.rpartition("/")[2] for path in registry.requests()[before:]}
    assert config in fetched
    assert not layers & fetched
    # with the same wish it is the same image again, and any engine can run it
    build(second, context, cachefrom=[image], t=image, **how)
    assert second.inspect(image)["Id"] == first.inspect(image)["Id"] == config
    assert second.out("run", "--rm", "--network", "none", image, "cat", "/etc/hostname") != ""


def test_the_smallest_cache_has_the_results_layers_alone(
    registry: RealRegistry, first: Daemon, second: Daemon, context: Path
) -> None:
    cache = f"{registry.host}/app/cache:min"
    build(first, context, t="app:1", cacheto=to("registry", ref=cache))
    _config, layers = blobs_of(registry, cache)
    assert len(layers) == len(first.inspect("app:1")["RootFS"]["Layers"])
    found = build(second, context, cachefrom=to("registry", ref=cache), outputs=NOTHING)
    assert cached_steps(found) == STEPS - 1
    # another file in the other stage: that stage is made, and the step beside it is still in the cache
    (context / "a.txt").write_text("b\n")
    before = len(registry.requests())
    found = build(second, context, cachefrom=to("registry", ref=cache), t="app:2")
    assert cached_steps(found) == 1
    assert "COPY --from=made /made /made\n ---> Using cache" not in found
    fetched = {path.rpartition("/")[2] for path in registry.requests()[before:]}
    assert len(layers & fetched) == 2, "the base, and the step that the cache had"
    assert (
        second.out("run", "--rm", "--network", "none", "app:2", "wc", "-c", "/made", "/random").split()[0] == "300000"
    )


def test_a_base_image_is_pulled_when_a_step_reads_it_and_no_other_is(
    registry: RealRegistry, first: Daemon, context: Path, base: str
) -> None:
    _config, (layer,) = blobs_of(registry, base)
    other = base.replace("busybox:1", "other:1")
    first.docker("pull", base)
    first.docker("tag", base, other)
    first.docker("push", other)
    text = f"FROM {other} AS other\nRUN exit 1\nFROM {base}\nENV A=1\nFROM {base}\nRUN echo made > /made\nENV A=b\n"
    (context / "Dockerfile").write_text(text)
    build(first, context, t="app:1")
    first.docker("rmi", base, other, "app:1")
    assert first.out("images", "-q") == ""
    before = len(registry.requests())
    repeated = build(first, context, outputs=NOTHING)
    assert cached_steps(repeated) == 1
    assert not [path for path in registry.requests()[before:] if layer in path], "the engine's own cache has all"
    assert first.out("images", "-q") == ""
    first.docker("builder", "prune", "-af")
    before = len(registry.requests())
    first.corten("build", "--check", str(context), check=False)
    assert not [path for path in registry.requests()[before:] if layer in path]
    made = build(first, context, t="app:1")
    assert "Pulling from base/busybox" in made
    asked = [path for path in registry.requests()[before:] if layer in path]
    assert asked == [f"/v2/base/busybox/blobs/{layer}"]
    assert first.out("images", "-q", base) != "", "as the classic builder has it, the base is an image here now"


def test_cache_mounts_travel_with_a_cache(
    registry: RealRegistry, first: Daemon, second: Daemon, context: Path, base: str
) -> None:
    cache = f"{registry.host}/app/cache:mounts"
    step = "--mount=type=cache,id=kept,target=/kept"
    (context / "Dockerfile").write_text(
        f"FROM {base}\nRUN {step} mkdir -m 711 /kept/d; echo kept > /kept/d/file; ln -s /etc/passwd /kept/link; chown 7:8 /kept\n"
    )
    build(first, context, cacheto=to("registry", ref=cache, mounts="true"))
    (context / "Dockerfile").write_text(
        f"FROM {base}\nRUN {step} cat /kept/d/file; stat -c '%a' /kept/d; readlink /kept/link; stat -c '%u:%g' /kept; id > /kept/new\n"
    )
    found = build(second, context, cachefrom=[cache])
    assert "kept\n711\n/etc/passwd\n7:8\n" in found
    # what is here is not replaced by what an import brings
    (context / "Dockerfile").write_text(f"FROM {base}\nRUN {step} ls /kept\n")
    assert "d\nlink\nnew\n" in build(second, context, cachefrom=[cache])


def test_a_cache_mount_begins_with_what_from_gives(first: Daemon, context: Path, base: str) -> None:
    mount = "--mount=type=cache,target=/c,id=x,from=made,source=/src"
    text = (
        f"FROM {base} AS made\nRUN mkdir -m 750 /src && echo {{0}} > /src/a && chown 3:4 /src\nFROM {base}\n"
        f"RUN {mount} cat /c/a; stat -c '%u:%g %a' /c; echo more >> /c/b; wc -l < /c/b\nRUN {mount} echo {{1}}; wc -l < /c/b\n"
    )
    (context / "Dockerfile").write_text(text.format("one", 1))
    assert "one\n3:4 750\n1\n" in build(first, context)
    (context / "Dockerfile").write_text(text.format("one", 2))
    assert "2\n1\n" in build(first, context), "what steps have written stays"
    (context / "Dockerfile").write_text(text.format("two", 1))
    assert "two\n3:4 750\n1\n" in build(first, context), "other files, another mount"
    (context / "Dockerfile").write_text(
        f"FROM {base}\nRUN {mount.replace('made', base).replace('/src', '/nowhere')} true\n"
    )
    with pytest.raises(AssertionError, match="/nowhere"):
        build(first, context)


def test_buildx_carries_a_cache_to_a_registry_and_finds_it_there(
    registry: RealRegistry, first: Daemon, second: Daemon, context: Path
) -> None:
    for engine in (first, second):
        with_plugins(engine)
    cache, image = f"{registry.host}/buildx/cache:1", f"{registry.host}/buildx/app:1"
    built = first.docker(
        "build", "-t", image, f"--cache-to=type=registry,ref={cache},mode=max", "--network=none", str(context)
    ).stderr
    assert f"exporting cache to {cache}\n" in built
    found = second.docker("build", "-t", image, f"--cache-from={cache}", "--network=none", str(context)).stderr
    assert f"importing cache manifest from {cache}\n" in found
    assert found.count(" CACHED\n") >= STEPS
    assert second.inspect(image)["Id"] == first.inspect(image)["Id"]
    first.docker("build", "-t", image, "--push", "--cache-to=type=inline", "--network=none", str(context))
    second.docker("rmi", "-f", image)
    second.docker("builder", "prune", "-af")
    found = second.docker("build", "-t", image, f"--cache-from={image}", "--network=none", str(context)).stderr
    assert found.count(" CACHED\n") >= STEPS - 1
    missing = second.docker("build", f"--cache-from={cache}-not", "--network=none", str(context)).stderr
    assert f"importing the cache from {cache}-not failed: " in missing


def test_who_takes_a_cache_for_an_image_is_told_and_the_registry_takes_it_for_a_manifest(
    registry: RealRegistry, first: Daemon, context: Path
) -> None:
    cache = f"{registry.host}/kinds/cache:1"
    build(first, context, cacheto=to("registry", ref=cache))
    refused = first.docker("pull", cache, check=False)
    assert refused.returncode == 1
    assert "application/vnd.buildkit.cacheconfig.v0" in refused.stderr
    config, layers = blobs_of(registry, cache)
    assert config not in layers


def test_a_client_who_reads_nothing_holds_up_no_other_build(first: Daemon, context: Path, base: str) -> None:
    (context / "Dockerfile").write_text(f"FROM {base}\nRUN seq 5000000; echo done > /done\n")
    first.docker("pull", base)
    silent = begin(first, context)
    try:
        assert silent.sock.recv(1) == b"H"  # the answer has begun, and no more of it is read
        deadline = time.monotonic() + 30
        while not first.out("ps", "-aq") and time.monotonic() < deadline:
            time.sleep(0.05)
        said = build(first, context, t="app:1")
    finally:
        silent.close()
    assert "\n5000000\n" in said, "it did the step itself"
    assert first.out("run", "--rm", "--network", "none", "app:1", "cat", "/done") == "done"


def test_what_is_only_pushed_stays_where_it_is(
    registry: RealRegistry, first: Daemon, second: Daemon, context: Path
) -> None:
    cache, image = f"{registry.host}/ci/cache:1", f"{registry.host}/ci/app:1"
    made = build(first, context, cacheto=to("registry", ref=cache))
    before = len(registry.requests())
    push = [{"Type": "registry", "Attrs": {"name": image, "store": "false"}}]
    build(second, context, cachefrom=[cache], outputs=push)
    _config, layers = blobs_of(registry, cache)
    fetched = {path.rpartition("/")[2] for path in registry.requests()[before:]}
    assert not layers & fetched, "the registry takes them over from the cache and the base"
    config, pushed = blobs_of(registry, image)
    assert pushed == layers
    assert config.removeprefix("sha256:").startswith(built_id(made))
    assert second.out("images", "-q") == ""
    assert second.out("run", "--rm", "--network", "none", image, "wc", "-c", "/made").split()[0] == "300000"
    # another registry has nothing of it: what it lacks comes here first
    with FakeRegistry() as other:
        elsewhere = f"{other.host}/app:1"
        second.docker("rmi", "-f", image)
        second.docker("builder", "prune", "-af")
        push = [{"Type": "registry", "Attrs": {"name": elsewhere, "store": "false"}}]
        build(second, context, cachefrom=[cache], outputs=push)
        assert layers <= other.blobs.keys()


def test_an_image_here_is_a_cache_when_no_registry_has_it(first: Daemon, context: Path, base: str) -> None:
    build(first, context, t="127.0.0.1:1/app:1", cacheto=to("inline"))
    first.docker("builder", "prune", "-af")
    said = build(first, context, cachefrom=["127.0.0.1:1/app:1"], t="app:2", cacheto=to("inline"))
    assert cached_steps(said) == STEPS - 1
    assert "[Warning]" not in said
    assert first.inspect("app:2")["Id"] == first.inspect("127.0.0.1:1/app:1")["Id"]


def test_a_directory_of_the_client_holds_a_cache(
    registry: RealRegistry, first: Daemon, second: Daemon, context: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    flags = ["--network", "none", str(context)]
    first.corten("build", "-t", "app:1", "--cache-to", f"type=local,dest={kept},mode=max,mounts=true", *flags)
    (entry,) = json.loads((kept / "index.json").read_bytes())["manifests"]
    assert (kept / "blobs" / entry["digest"].replace(":", "/")).exists()
    before = len(registry.requests())
    second.corten("build", "--cache-from", f"type=local,src={kept}", "-o", "type=cacheonly", *flags)
    assert len(registry.requests()) - before == 1, "the base's configuration"
    second.corten("build", "-t", "app:1", "--cache-from", f"type=local,src={kept}", *flags)
    assert second.inspect("app:1")["Id"] == first.inspect("app:1")["Id"]
    missing = second.corten("build", "--cache-from", f"type=local,src={tmp_path}/no", "-t", "app:2", *flags)
    assert f"importing the cache from {tmp_path}/no failed" in missing.stderr
    # over POST /build there are no directories
    said = build(second, context, cachefrom=to("local", src=str(kept)))
    assert f"importing the cache from {kept} failed" in said
    with pytest.raises(BuildFailed, match="cannot be reached over this connection"):
        build(second, context, cacheto=to("local", dest=str(kept)))


def test_buildx_keeps_a_cache_in_a_directory(
    registry: RealRegistry, first: Daemon, second: Daemon, context: Path, tmp_path: Path
) -> None:
    for engine in (first, second):
        with_plugins(engine)
    kept = tmp_path / "kept"
    flags = ["--network=none", str(context)]
    first.docker("build", "-t", "app:1", f"--cache-to=type=local,dest={kept},mode=max", *flags)
    first.docker("build", "-t", "app:1", f"--cache-to=type=local,dest={kept},mode=max", *flags)  # it has all
    before = len(registry.requests())
    found = second.docker("build", "-t", "app:1", f"--cache-from=type=local,src={kept}", *flags).stderr
    assert found.count(" CACHED\n") >= STEPS
    assert second.inspect("app:1")["Id"] == first.inspect("app:1")["Id"]
    assert len(registry.requests()) - before == 2, "the base's configuration and layer"
    for blob in (kept / "blobs/sha256").iterdir():
        blob.write_bytes(blob.read_bytes()[:-1] + b"x")
    second.docker("rmi", "-f", "app:1")
    second.docker("builder", "prune", "-af")
    refused = second.docker("build", "-t", "app:1", f"--cache-from=type=local,src={kept}", *flags).stderr
    assert f"importing the cache from {kept} failed: manifest verification failed" in refused
