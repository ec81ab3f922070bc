"""What a build brings to a registry and to files: layers in their forms, annotations, attestations."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import tarfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.lab import images, peers
from tests.lab.daemon import Daemon, running_daemon
from tests.lab.registry import RealRegistry, real_registry

_INDEX = "application/vnd.oci.image.index.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_DOCKERS = "application/vnd.docker.distribution.manifest.v2+json"
DOCKERFILE = "FROM busybox\nARG SECRET\nRUN echo made > /made && head -c 200000 /dev/zero > /zero\nLABEL a=b\n"

# user "tester", password "secret", as htpasswd -B writes it
HTPASSWD = "tester:$2y$05$I3IA5wuWoXKz/AV72D.ak.0fxMdrSu1jUaZTrIslsXy22t6t9bJvu\n"

Build = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with running_daemon() as engine:
        engine.docker("load", "-i", str(images.busybox()))
        yield engine


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealRegistry]:
    folder = tmp_path_factory.mktemp("registry")
    with real_registry(folder, htpasswd=HTPASSWD) as found:
        yield found


@pytest.fixture
def build(daemon: Daemon, registry: RealRegistry, tmp_path: Path) -> Build:
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    daemon.docker("login", "-u", "tester", "--password-stdin", registry.host, input="secret")

    def run(*flags: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return daemon.corten("build", "--network", "none", *flags, str(tmp_path), check=check)

    return run


@dataclass(frozen=True)
class Shown:
    """A registry's repository, read as anybody could."""

    registry: RealRegistry
    path: str

    def raw(self, kind: str, reference: str) -> tuple[str, bytes]:
        token = base64.b64encode(b"tester:secret").decode()
        headers = {"Accept": f"{_INDEX}, {_MANIFEST}, {_DOCKERS}", "Authorization": f"Basic {token}"}
        request = urllib.request.Request(
            f"http://{self.registry.host}/v2/{self.path}/{kind}/{reference}", headers=headers
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return str(answer.headers["Content-Type"]), bytes(answer.read())

    def manifest(self, reference: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.raw("manifests", reference)[1])
        return found

    def blob(self, digest: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.raw("blobs", digest)[1])
        return found


@pytest.mark.parametrize(
    ("words", "ending", "kind"),
    [
        ("", "tar+gzip", _MANIFEST),
        ("compression=zstd,compression-level=9,force-compression=true", "tar+zstd", _MANIFEST),
        ("compression=uncompressed", "layer.v1.tar", _MANIFEST),
        ("compression=gzip,compression-level=9,oci-mediatypes=false", "diff.tar.gzip", _DOCKERS),
    ],
)
def test_a_push_has_the_layers_in_the_form_asked_for(
    daemon: Daemon, registry: RealRegistry, build: Build, words: str, ending: str, kind: str
) -> None:
    path = f"form/{ending.replace('+', '-')}"
    name = f"{registry.host}/{path}:1"
    build("-o", f"type=registry,name={name},{words}".rstrip(","))
    media_type, raw = Shown(registry, path).raw("manifests", "1")
    assert media_type == kind
    assert all(layer["mediaType"].endswith(ending) for layer in json.loads(raw)["layers"])
    image_id = daemon.inspect(name)["Id"]
    daemon.out("rmi", name)
    daemon.out("pull", name)
    assert daemon.inspect(name)["Id"] == image_id
    assert daemon.out("run", "--rm", "--network", "none", name, "cat", "/made") == "made"


def test_a_push_by_digest_gives_no_tag_and_leaves_no_image(
    daemon: Daemon, registry: RealRegistry, build: Build, tmp_path: Path
) -> None:
    before = daemon.out("images", "-aq")
    told = tmp_path / "told.json"
    output = f"type=image,name={registry.host}/untagged,push-by-digest=true,push=true"
    build("-o", output, "--metadata-file", str(told))
    digest = json.loads(told.read_bytes())["containerimage.digest"]
    assert Shown(registry, "untagged").manifest(digest)["mediaType"] == _MANIFEST
    with pytest.raises(urllib.error.HTTPError):
        Shown(registry, "untagged").raw("manifests", "latest")
    assert daemon.out("images", "-aq") == before


def test_a_push_without_a_name_or_without_the_right_is_refused(
    daemon: Daemon, registry: RealRegistry, build: Build
) -> None:
    assert "tag is needed when pushing to registry" in build("--push", check=False).stderr
    daemon.docker("logout", registry.host)
    failed = build("--push", "-t", f"{registry.host}/nobody:1", check=False)
    assert failed.returncode == 1
    assert "no basic auth credentials" in failed.stderr or "unauthorized" in failed.stderr.lower()


def test_provenance_and_packages_stand_beside_the_image(daemon: Daemon, registry: RealRegistry, build: Build) -> None:
    name = f"{registry.host}/said:1"
    build(
        "--push", "-t", name, "--provenance=mode=max,builder-id=https://example.test/lab", "--sbom=true",
        "--build-arg", "SECRET=none", "--build-arg", "HTTP_PROXY=http://user:pa55word@proxy.test",
    )  # fmt: skip
    shown = Shown(registry, "said")
    index = shown.manifest("1")
    image, attestation = index["manifests"]
    assert attestation["platform"] == {"architecture": "unknown", "os": "unknown"}
    assert attestation["annotations"] == {
        "vnd.docker.reference.digest": image["digest"],
        "vnd.docker.reference.type": "attestation-manifest",
    }
    manifest = shown.manifest(attestation["digest"])
    config = shown.blob(manifest["config"]["digest"])
    assert config["rootfs"]["diff_ids"] == [layer["digest"] for layer in manifest["layers"]]
    assert {layer["mediaType"] for layer in manifest["layers"]} == {"application/vnd.in-toto+json"}
    said = {
        layer["annotations"]["in-toto.io/predicate-type"]: shown.blob(layer["digest"]) for layer in manifest["layers"]
    }
    assert set(said) == {"https://slsa.dev/provenance/v1", "https://spdx.dev/Document"}
    for kind, statement in said.items():
        assert statement["predicateType"] == kind
        assert [subject["digest"]["sha256"] for subject in statement["subject"]] == [image["digest"][7:]]
        assert statement["subject"][0]["name"].startswith(f"pkg:docker/{registry.host}/said@1?platform=linux%2F")
    predicate = said["https://slsa.dev/provenance/v1"]["predicate"]
    request = predicate["buildDefinition"]["externalParameters"]["request"]
    assert request["args"]["build-arg:SECRET"] == "none"
    assert "pa55word" not in json.dumps(said)
    (base,) = predicate["buildDefinition"]["resolvedDependencies"]
    assert base["uri"].startswith("pkg:docker/busybox@latest?platform=")
    assert base["digest"] == {"sha256": daemon.inspect("busybox")["Descriptor"]["digest"][7:]}
    assert predicate["runDetails"]["builder"]["id"] == "https://example.test/lab"
    assert predicate["runDetails"]["metadata"]["buildkit_hermetic"] is True
    document = said["https://spdx.dev/Document"]["predicate"]
    assert document["spdxVersion"] == "SPDX-2.3"
    assert [package["primaryPackagePurpose"] for package in document["packages"]] == ["CONTAINER"]
    # the engine's own image is the same, and its name means the index
    assert daemon.inspect(name)["Descriptor"]["digest"].startswith("sha256:")
    daemon.out("rmi", name)
    daemon.out("pull", name)
    assert daemon.out("run", "--rm", "--network", "none", name, "cat", "/made") == "made"


def test_buildx_reads_what_is_said(daemon: Daemon, registry: RealRegistry, build: Build) -> None:
    name = f"{registry.host}/read:1"
    build("--push", "-t", name, "--provenance=mode=max", "--sbom=true", "--annotation", "index:seen=yes")
    buildx = peers.folder() / "usr/libexec/docker/cli-plugins/docker-buildx"

    def inspected(template: str) -> Any:
        argv = [str(buildx), "imagetools", "inspect", "--format", template, name]
        result = subprocess.run(argv, capture_output=True, text=True, check=False, env=daemon.environment, timeout=60)
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    assert inspected("{{json .Manifest}}")["annotations"] == {"seen": "yes"}
    predicate = inspected("{{json .Provenance.SLSA}}")
    definition = predicate["buildDefinition"]
    assert definition["externalParameters"]["configSource"] == {"path": "Dockerfile"}
    assert definition["resolvedDependencies"][0]["uri"].startswith("pkg:docker/busybox@latest")
    assert inspected("{{json .SBOM.SPDX}}")["SPDXID"] == "SPDXRef-DOCUMENT"
    assert inspected("{{json .Image}}")["config"]["Labels"] == {"a": "b"}


def test_annotations_go_to_their_places(registry: RealRegistry, build: Build, tmp_path: Path) -> None:
    name = f"{registry.host}/noted:1"
    flags = ("--annotation", "plain=1", "--annotation", "index,manifest-descriptor:both=2", "-t", name, "--push")
    assert "index annotations not supported for single platform export" in build(*flags, check=False).stderr
    build(*flags, "--provenance=true")
    shown = Shown(registry, "noted")
    index = shown.manifest("1")
    assert index["annotations"] == {"both": "2"}
    assert index["manifests"][0]["annotations"] == {"both": "2"}
    assert shown.manifest(index["manifests"][0]["digest"])["annotations"] == {"plain": "1"}
    layout = tmp_path / "layout"
    build("-o", f"type=oci,dest={layout},tar=false,annotation-index-descriptor.far=3,name=here:1")
    (entry,) = json.loads((layout / "index.json").read_bytes())["manifests"]
    assert entry["annotations"]["far"] == "3"


def test_one_build_has_several_outputs(daemon: Daemon, build: Build, tmp_path: Path) -> None:
    tar, layout, out = tmp_path / "a.tar", tmp_path / "layout", tmp_path / "out"
    build(
        "-t", "several:1", "-o", f"type=tar,dest={tar}", "-o", str(out), "-o", f"type=oci,dest={layout},tar=false",
        "-o", f"type=docker,dest={tmp_path / 'docker.tar'}", "--load",
    )  # fmt: skip
    assert daemon.out("run", "--rm", "--network", "none", "several:1", "cat", "/made") == "made"
    assert (out / "made").read_text() == "made\n"
    with tarfile.open(tar) as found:
        assert "made" in found.getnames()
    assert sorted(path.name for path in layout.iterdir()) == ["blobs", "index.json", "oci-layout"]
    build("-t", "several:2", "-o", f"type=oci,dest={layout},tar=false", "--label", "other=1")
    index = json.loads((layout / "index.json").read_bytes())
    assert [entry["annotations"]["org.opencontainers.image.ref.name"] for entry in index["manifests"]] == ["1", "2"]
    daemon.out("rmi", "several:1")


def test_attestations_are_files_beside_the_files(build: Build, tmp_path: Path) -> None:
    out = tmp_path / "out"
    build("-o", f"type=local,dest={out},attestation-prefix=my-", "--provenance=version=v0.2", "--sbom=1")
    statement = json.loads((out / "my-provenance.json").read_bytes())
    assert statement["predicateType"] == "https://slsa.dev/provenance/v0.2"
    assert json.loads((out / "my-sbom.spdx.json").read_bytes())["predicateType"] == "https://spdx.dev/Document"


def test_the_packages_are_those_that_dpkg_lists(daemon: Daemon, tmp_path: Path) -> None:
    daemon.docker("load", "-i", str(images.debian()))
    daemon.corten("build", "-o", str(tmp_path), "--sbom=true", "-", input="FROM debian\n")
    listed = daemon.out(
        "run", "--rm", "--network", "none", "debian", "dpkg-query", "-W", "-f", "${Package} ${Version}\n"
    )
    document = json.loads((tmp_path / "sbom.spdx.json").read_bytes())["predicate"]
    found = {f"{package['name']} {package['versionInfo']}" for package in document["packages"][1:]}
    assert found == set(listed.splitlines())
    reference = document["packages"][1]["externalRefs"][0]["referenceLocator"]
    assert reference.startswith("pkg:deb/debian/")
    assert "distro=debian-12" in reference


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("-o", "type=image,compression=lzma"), "unsupported layer compression type"),
        (("-o", "type=image,nonsense=1"), "not supported: nonsense"),
        (("-o", "type=docker,dest=x", "--platform", "linux/amd64,linux/386"), "manifest lists"),
        (("--sbom", "generator=other/image"), "another generator is not supported"),
        (("--attest", "type=vsa"), "type=provenance or type=sbom"),
        (("-o", "type=local,dest=x", "--push"), "can't be used together"),
        (("-o", "type=cacheonly", "--annotation", "a=b"), "annotations go to images"),
    ],
)
def test_what_cannot_be_done_is_refused(daemon: Daemon, tmp_path: Path, flags: tuple[str, ...], words: str) -> None:
    failed = daemon.corten("build", *flags, "-", input="FROM scratch\nLABEL a=b\n", check=False, cwd=tmp_path)
    assert failed.returncode != 0
    assert words in failed.stderr
    assert list(tmp_path.iterdir()) == []


def blobs(daemon: Daemon) -> set[str]:
    return {path.name for path in (daemon.data_root / "content/blobs/sha256").iterdir()}


def test_an_image_without_a_name_can_have_one_by_its_digest(daemon: Daemon, build: Build) -> None:
    build("-o", "type=image,dangling-name-prefix=kept,compression=gzip", "--label", "dangling=1")
    (shown,) = [
        line for line in daemon.out("images", "--digests", "--no-trunc").splitlines() if line.startswith("kept ")
    ]
    digest = shown.split()[2]
    assert daemon.out("run", "--rm", "--network", "none", f"kept@{digest}", "cat", "/made") == "made"
    daemon.out("rmi", f"kept@{digest}")


def test_a_push_that_fails_leaves_nothing_behind(daemon: Daemon, build: Build) -> None:
    build()
    before = blobs(daemon)
    with socket.socket() as nobody:  # bound, and not listening
        nobody.bind(("127.0.0.1", 0))
        name = f"127.0.0.1:{nobody.getsockname()[1]}/x:1"
        failed = build("-o", f"type=image,name={name},push=true,store=false", "--provenance=true", check=False)
    assert failed.returncode == 1
    assert "connection refused" in failed.stderr.lower()
    assert blobs(daemon) == before
    assert daemon.out("images", "-q", name) == ""


def test_what_an_index_needed_goes_with_its_image(daemon: Daemon, build: Build) -> None:
    build()
    before = blobs(daemon)
    build("-t", "index:1", "--provenance=true", "--sbom=true", "--label", "gone=1")
    assert len(blobs(daemon) - before) >= 5  # configuration, manifest, index, attestation, statements, layers
    daemon.out("rmi", "index:1")
    assert blobs(daemon) == before
