"""Images go between Corten, Docker 26 and skopeo, by a registry and as archives, and stay what they are.

Docker has a loopback of its own: a second registry stands there, on the same files as the host's.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.lab import images, peers
from tests.lab.daemon import Daemon, docker_cli
from tests.lab.registry import real_registry

from corten.spec.platform import host_platform
from corten.testing.indexes import MadeIndex, files_of, make_index

HOST = str(host_platform())
OTHER = "linux/s390x"


@dataclass(frozen=True)
class Peers:
    """Docker 26 and skopeo, the folder they see as /lab-shared, and the registry's name here and there."""

    dockerd: peers.Dockerd
    shared: Path
    here: str
    there: str

    def docker(self, *arguments: str) -> str:
        """What Docker's client prints against Docker 26."""
        return _run([docker_cli(), "-H", self.dockerd.host, *arguments])

    def skopeo(self, *arguments: str) -> str:
        """What skopeo prints."""
        return _run(self.dockerd.inside("skopeo", "--insecure-policy", *arguments))


def _run(argv: list[str]) -> str:
    result = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120, stdin=subprocess.DEVNULL)
    assert result.returncode == 0, f"{argv}\n{result.stdout}\n{result.stderr}"
    return result.stdout.strip()


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peers]:
    shared = Path(tempfile.mkdtemp(prefix="corten-peers-", dir="/var/tmp"))  # overlayfs needs a real file system
    dockerd = peers.Dockerd(shared)
    try:
        dockerd.wait()
        first, second = tmp_path_factory.mktemp("here"), tmp_path_factory.mktemp("there")
        (first / "data").mkdir()
        (second / "data").symlink_to(first / "data")
        with real_registry(first) as here, real_registry(second, netns=dockerd.netns) as there:
            yield Peers(dockerd, shared, here.host, there.host)
    finally:
        dockerd.stop()
        subprocess.run(["rm", "-rf", "--one-file-system", str(shared)], check=True)


@pytest.fixture(scope="module")
def index() -> MadeIndex:
    """busybox for this machine with a second layer, something else for another one, attestations, annotations."""
    rootfs = images.busybox_rootfs().read_bytes()
    extra = make_index({HOST: [{"etc/extra": b"a second layer\n"}]}, compression="").blobs.values()
    layer = next(data for data in extra if b"a second layer" in data)
    return make_index(
        {HOST: [], OTHER: [{"who": b"other"}]},
        tars={HOST: [rootfs, layer]},
        config={"Cmd": ["cat", "/etc/extra"], "Labels": {"made": "by hand"}, "ExposedPorts": {"80/tcp": {}}},
    )


@pytest.fixture(scope="module")
def pushed(daemon: Daemon, peer: Peers, index: MadeIndex, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The repository that Corten pushed the index to, by its path."""
    archive = tmp_path_factory.mktemp("index") / "multi.tar"
    archive.write_bytes(index.layout(f"{peer.here}/from/corten:1"))
    daemon.out("load", "-i", str(archive))
    told = daemon.out("push", f"{peer.here}/from/corten:1")
    assert told.splitlines()[-1] == f"1: digest: {index.digest} size: {len(index.raw)}"
    return "from/corten"


def facts(text: str) -> dict[str, object]:
    """What an inspect says of an image itself, and not of the engine that has it."""
    (shown,) = json.loads(text)
    config = {key: value for key, value in shown["Config"].items() if key in ("Cmd", "Labels", "ExposedPorts", "Env")}
    names = ("Id", "Architecture", "Os", "Created", "RootFS")
    return {**{name: shown[name] for name in names}, "Config": {k: v for k, v in config.items() if v}}


def test_docker_pulls_and_runs_what_corten_pushed(daemon: Daemon, peer: Peers, index: MadeIndex, pushed: str) -> None:
    told = peer.docker("pull", f"{peer.there}/{pushed}:1")
    assert f"Digest: {index.digest}" in told
    assert peer.docker("run", "--rm", "--network", "none", f"{peer.there}/{pushed}:1") == "a second layer"
    theirs = facts(peer.docker("inspect", f"{peer.there}/{pushed}:1"))
    assert theirs == facts(daemon.out("inspect", f"{peer.here}/{pushed}:1"))
    assert theirs["Id"] == index.image_id(HOST)
    by_digest = f"{peer.there}/{pushed}@{index.manifests[HOST]}"
    peer.docker("pull", by_digest)
    assert facts(peer.docker("inspect", by_digest))["Id"] == index.image_id(HOST)


def test_corten_pulls_and_runs_what_docker_pushed(daemon: Daemon, peer: Peers) -> None:
    peer.docker("load", "-i", str(images.busybox()))
    container = peer.docker("create", "--network", "none", "busybox", "cat", "/etc/passwd")
    peer.docker("commit", "-a", "docker", "-m", "theirs", "-c", "LABEL by=docker", container, "theirs:1")
    peer.docker("tag", "theirs:1", f"{peer.there}/from/docker:1")
    digest = peer.docker("push", f"{peer.there}/from/docker:1").splitlines()[-1].split("digest: ")[1].split()[0]
    name = f"{peer.here}/from/docker:1"
    assert f"Digest: {digest}" in daemon.out("pull", name)
    assert daemon.out("run", "--rm", name).startswith("root:x:0:0")
    assert facts(daemon.out("inspect", name)) == facts(peer.docker("inspect", "theirs:1"))
    assert daemon.inspect(name)["Descriptor"]["mediaType"] == "application/vnd.docker.distribution.manifest.v2+json"
    again = f"{peer.here}/from/docker:again"
    daemon.out("tag", name, again)
    assert f"again: digest: {digest}" in daemon.out("push", again)


def test_docker_loads_and_runs_what_corten_saved(daemon: Daemon, peer: Peers, index: MadeIndex, pushed: str) -> None:
    name = f"{peer.here}/{pushed}:1"
    daemon.out("save", "-o", str(peer.shared / "corten.tar"), name)
    assert peer.docker("load", "-i", str(peer.shared / "corten.tar")) == f"Loaded image: {name}"
    assert peer.docker("run", "--rm", "--network", "none", name) == "a second layer"
    assert facts(peer.docker("inspect", name))["Id"] == index.image_id(HOST)


def test_corten_loads_and_runs_what_docker_saved(daemon: Daemon, peer: Peers) -> None:
    peer.docker("load", "-i", str(images.busybox()))
    peer.docker("tag", "busybox", "saved/by:docker")
    archive = peer.shared / "docker.tar"
    peer.docker("save", "-o", str(archive), "saved/by:docker")
    assert daemon.out("load", "-i", str(archive)) == "Loaded image: saved/by:docker"
    assert daemon.out("run", "--rm", "saved/by:docker", "echo", "it runs") == "it runs"
    theirs = facts(peer.docker("inspect", "saved/by:docker"))
    assert facts(daemon.out("inspect", "saved/by:docker")) == theirs
    out = peer.shared / "again.tar"
    daemon.out("save", "-o", str(out), "saved/by:docker")
    first, second = (blobs(path) for path in (archive, out))
    config = str(theirs["Id"])[7:]
    layers = [digest[7:] for digest in theirs["RootFS"]["Layers"]]  # type: ignore[index]
    assert {name: first[name] for name in (config, *layers)} == {name: second[name] for name in (config, *layers)}


def blobs(path: Path) -> dict[str, bytes]:
    return {n[13:]: data for n, data in files_of(path.read_bytes()).items() if n.startswith("blobs/sha256/")}


def test_skopeo_agrees_on_what_corten_pushed(daemon: Daemon, peer: Peers, index: MadeIndex, pushed: str) -> None:
    remote = f"docker://{peer.there}/{pushed}:1"
    told = json.loads(peer.skopeo("inspect", "--tls-verify=false", remote))
    shown = json.loads(daemon.corten("image", "inspect", f"{peer.here}/{pushed}:1").stdout)[0]
    assert told["Digest"] == index.digest == shown["Descriptor"]["digest"]
    assert (told["Architecture"], told["Os"]) == (shown["Architecture"], shown["Os"])
    assert told["Labels"] == shown["Config"]["Labels"]
    tree = json.loads(daemon.corten("image", "tree", "--format", "json", f"{peer.here}/{pushed}:1").stdout)
    layers = [layer["Descriptor"]["digest"] for layer in tree["Root"]["Children"][0]["Layers"]]
    assert told["Layers"] == layers
    config = json.loads(peer.skopeo("inspect", "--tls-verify=false", "--config", remote))
    assert config["rootfs"]["diff_ids"] == shown["RootFS"]["Layers"]
    raw = peer.skopeo("inspect", "--tls-verify=false", "--raw", remote)
    assert raw.encode() == index.raw.strip()


def test_skopeo_copies_what_corten_pushed_and_corten_takes_it_back(
    daemon: Daemon, peer: Peers, index: MadeIndex, pushed: str
) -> None:
    remote = f"docker://{peer.there}/{pushed}:1"
    flags = ("copy", "--all", "--preserve-digests", "--src-tls-verify=false", "--dest-tls-verify=false")
    peer.skopeo(*flags, remote, f"docker://{peer.there}/from/skopeo:1")
    name = f"{peer.here}/from/skopeo:1"
    assert f"Digest: {index.digest}" in daemon.out("pull", name)
    assert daemon.out("run", "--rm", name) == "a second layer"
    peer.skopeo(*flags, remote, "oci-archive:/lab-shared/skopeo-oci.tar:docker.io/skopeo/oci:1")
    assert daemon.out("load", "-i", str(peer.shared / "skopeo-oci.tar")) == "Loaded image: skopeo/oci:1"
    assert daemon.inspect("skopeo/oci:1")["Descriptor"]["digest"] == index.digest
    daemon.out("save", "-o", str(peer.shared / "back.tar"), "skopeo/oci:1")
    assert {f"sha256:{n}": data for n, data in blobs(peer.shared / "back.tar").items()} == index.blobs
    peer.skopeo(
        "copy", "--src-tls-verify=false", remote, "docker-archive:/lab-shared/skopeo-docker.tar:skopeo/docker:1"
    )
    assert daemon.out("load", "-i", str(peer.shared / "skopeo-docker.tar")) == "Loaded image: skopeo/docker:1"
    assert daemon.inspect("skopeo/docker:1")["Id"] == index.image_id(HOST)
    assert daemon.out("run", "--rm", "skopeo/docker:1") == "a second layer"


def test_skopeo_reads_what_corten_saved(daemon: Daemon, peer: Peers, index: MadeIndex, pushed: str) -> None:
    daemon.out("save", "-o", str(peer.shared / "read.tar"), f"{peer.here}/{pushed}:1")
    raw = peer.skopeo("inspect", "--raw", "oci-archive:/lab-shared/read.tar:1")
    assert raw.encode() == index.raw.strip()
    shown = json.loads(
        peer.skopeo("inspect", "--config", f"docker-archive:/lab-shared/read.tar:{peer.here}/{pushed}:1")
    )
    assert shown["config"]["Cmd"] == ["cat", "/etc/extra"]


def test_docker_and_skopeo_read_what_corten_built(daemon: Daemon, peer: Peers) -> None:
    daemon.corten(
        "build", "--network", "none", "-t", "built:1", "--provenance=true",
        "-o", f"type=oci,dest={peer.shared / 'built.oci'},compression=zstd,force-compression=true",
        "-o", f"type=docker,dest={peer.shared / 'built.docker'},compression=gzip",
        "-o", f"type=oci,dest={peer.shared / 'layout'},tar=false",
        "-o", f"type=registry,name={peer.here}/from/build:1",
        "-", input="FROM busybox\nRUN echo made > /made\nLABEL a=b\n",
    )  # fmt: skip
    assert peer.docker("load", "-i", str(peer.shared / "built.docker")) == "Loaded image: built:1"
    peer.docker("pull", f"{peer.there}/from/build:1")
    for name in ("built:1", f"{peer.there}/from/build:1"):
        assert peer.docker("run", "--rm", "--network", "none", name, "cat", "/made") == "made"
    for source in ("oci-archive:/lab-shared/built.oci", "oci:/lab-shared/layout:1"):
        assert json.loads(peer.skopeo("inspect", source))["Labels"] == {"a": "b"}
        peer.skopeo("copy", source, "dir:/lab-shared/copied")
