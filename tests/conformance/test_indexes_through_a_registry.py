"""An index of several platforms with attestations and annotations goes through a real registry and keeps its digests."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.lab.daemon import Daemon
from tests.lab.registry import RealRegistry, real_registry

from corten.spec.platform import host_platform
from corten.testing.indexes import MadeIndex, files_of, make_index

HOST = str(host_platform())
OTHER, ARM6, ARM7 = "linux/s390x", "linux/arm/v6", "linux/arm/v7"
_INDEX = "application/vnd.oci.image.index.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealRegistry]:
    with real_registry(tmp_path_factory.mktemp("registry")) as found:
        yield found


@pytest.fixture(params=["gzip", "zstd", ""], ids=["gzip", "zstd", "plain"])
def index(request: pytest.FixtureRequest) -> MadeIndex:
    platforms = {
        HOST: [{"who": b"host"}, {"etc/x": b"1"}],
        OTHER: [{"who": b"z"}],
        ARM7: [{"who": b"7"}],
        ARM6: [{"who": b"6"}],
    }
    return make_index(platforms, compression=request.param)


@pytest.fixture
def name(daemon: Daemon, registry: RealRegistry, index: MadeIndex, tmp_path: Path) -> Iterator[str]:
    """The index under a name of the registry, loaded and pushed."""
    found = f"{registry.host}/team/multi:1"
    archive = tmp_path / "multi.tar"
    archive.write_bytes(index.layout(found))
    daemon.out("load", "-i", str(archive))
    told = daemon.out("push", found).splitlines()
    assert told[-1] == f"1: digest: {index.digest} size: {len(index.raw)}"
    yield found
    daemon.docker("rmi", "-f", found, check=False)


def fetch(registry: RealRegistry, reference: str) -> tuple[str, bytes]:
    """A manifest's media type and bytes, as the registry has them."""
    accept = {"Accept": f"{_INDEX}, {_MANIFEST}"}
    request = urllib.request.Request(f"http://{registry.host}/v2/team/multi/manifests/{reference}", headers=accept)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return str(answer.headers["Content-Type"]), bytes(answer.read())


def saved(daemon: Daemon, name: str, path: Path) -> dict[str, bytes]:
    daemon.out("save", "-o", str(path), name)
    files = files_of(path.read_bytes())
    return {f"sha256:{n[13:]}": data for n, data in files.items() if n.startswith("blobs/sha256/")}


def test_every_digest_is_the_same_in_the_registry_and_after_a_pull(
    daemon: Daemon, registry: RealRegistry, index: MadeIndex, name: str, tmp_path: Path
) -> None:
    assert fetch(registry, "1") == (_INDEX, index.raw)
    for digest in (*index.manifests.values(), *index.attestations.values()):
        assert fetch(registry, digest) == (_MANIFEST, index.blobs[digest])
    daemon.out("rmi", name)
    daemon.out("pull", name)
    shown = daemon.inspect(name)
    assert shown["Descriptor"]["digest"] == index.digest
    assert shown["RepoDigests"] == [f"{name.rpartition(':')[0]}@{index.digest}"]
    assert shown["Id"] == index.image_id(HOST)
    found = saved(daemon, name, tmp_path / "out.tar")
    assert found.items() <= index.blobs.items()
    assert set(found) >= {index.digest, index.attestations[HOST]} | index.belonging(HOST)
    assert not set(found) & {index.manifests[OTHER], index.attestations[OTHER]}


@pytest.mark.parametrize(
    ("wanted", "got"), [(OTHER, OTHER), (ARM6, ARM6), (ARM7, ARM7), ("linux/arm", ARM7), ("linux/arm/v8", ARM7)]
)
def test_one_platform_is_pulled(daemon: Daemon, index: MadeIndex, name: str, wanted: str, got: str) -> None:
    daemon.out("rmi", name)
    daemon.out("pull", "--platform", wanted, name)
    assert daemon.inspect(name)["Id"] == index.image_id(got)


def test_a_platform_that_is_not_there_is_told(daemon: Daemon, name: str) -> None:
    for client in (daemon.docker, daemon.corten):
        refused = client("pull", "--platform", "linux/386/v9", name, check=False)
        assert refused.returncode == 1
        assert "no matching manifest for linux/386/v9 in the manifest list entries" in refused.stderr
        refused = client("push", "--platform", "linux/mips64le", name, check=False)
        assert refused.returncode == 1
        assert f"{name} was found but does not provide the specified platform (linux/mips64le)" in refused.stderr


def test_one_platform_is_pushed_as_its_manifest_alone(
    daemon: Daemon, registry: RealRegistry, index: MadeIndex, name: str
) -> None:
    one = f"{name.rpartition(':')[0]}:one"
    daemon.out("tag", name, one)
    for client in (daemon.docker, daemon.corten):
        told = client("push", "--platform", OTHER, one).stdout.splitlines()
        assert f"one: digest: {index.manifests[OTHER]}" in told[-1]
    assert fetch(registry, "one") == (_MANIFEST, index.blobs[index.manifests[OTHER]])
    daemon.out("rmi", one)


def test_what_is_not_whole_here_is_pushed_as_far_as_it_is(
    daemon: Daemon, registry: RealRegistry, index: MadeIndex, name: str
) -> None:
    daemon.out("rmi", name)
    daemon.out("pull", name)
    again = f"{name.rpartition(':')[0]}:again"
    daemon.out("tag", name, again)
    told = daemon.docker("push", again)
    assert f"again: digest: {index.manifests[HOST]}" in told.stdout
    assert fetch(registry, "again") == (_MANIFEST, index.blobs[index.manifests[HOST]])
    daemon.out("rmi", again)


def test_the_registrys_index_is_told_without_a_pull(daemon: Daemon, index: MadeIndex, name: str) -> None:
    listed = json.loads(daemon.out("manifest", "inspect", "--insecure", name))["manifests"]
    assert {entry["digest"] for entry in listed} == {*index.manifests.values(), *index.attestations.values()}
    import docker

    client = docker.DockerClient(base_url=daemon.host, version="1.50")
    try:
        data = client.images.get_registry_data(name)
        assert data.id == index.digest
        assert data.has_platform(OTHER)
    finally:
        client.close()
