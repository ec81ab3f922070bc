"""One build for several platforms: each from its own base, one index of all, foreign programs as far as they can run."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.lab import images
from tests.lab.daemon import Daemon, running_daemon
from tests.lab.progress import cached_steps
from tests.lab.registry import RealRegistry, real_registry

from corten.spec.platform import host_platform
from corten.testing.indexes import make_index

HOST = str(host_platform())
# What runs here without an emulator, and what does not.
NEAR, NEAR_DEBIAN = {"linux/amd64": ("linux/386", "i386"), "linux/arm64": ("linux/arm/v7", "armhf")}[HOST]
FAR, FAR_DEBIAN = {"linux/amd64": ("linux/arm64", "arm64"), "linux/arm64": ("linux/amd64", "amd64")}[HOST]
CONFIG = {"Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], "Cmd": ["sh"]}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealRegistry]:
    with real_registry(tmp_path_factory.mktemp("registry")) as found:
        yield found


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with running_daemon() as engine:
        yield engine


@pytest.fixture(scope="module")
def base(daemon: Daemon, registry: RealRegistry, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A busybox for three platforms in the registry, nothing of it here."""
    roots = {HOST: "", NEAR: NEAR_DEBIAN, FAR: FAR_DEBIAN}
    tars = {platform: [images.busybox_rootfs(name).read_bytes()] for platform, name in roots.items()}
    name = f"{registry.host}/lab/busybox:1"
    archive = tmp_path_factory.mktemp("base") / "base.tar"
    archive.write_bytes(make_index(dict.fromkeys(roots, ()), config=CONFIG, tars=tars).layout(name))
    daemon.out("load", "-i", str(archive))
    daemon.out("push", name)
    daemon.out("rmi", name)
    return name


def index_of(layout: Path) -> dict[str, dict[str, object]]:
    """The configurations of a layout in a directory, by platform."""
    (entry,) = json.loads((layout / "index.json").read_bytes())["manifests"]
    return {
        "/".join(entry["platform"][key] for key in ("os", "architecture", "variant") if key in entry["platform"]): blob(
            layout, blob(layout, entry["digest"])["config"]["digest"]
        )
        for entry in blob(layout, entry["digest"])["manifests"]
    }


def blob(layout: Path, digest: str) -> dict[str, object]:
    found = json.loads((layout / "blobs/sha256" / digest.removeprefix("sha256:")).read_bytes())
    assert isinstance(found, dict)
    return found


def test_each_platform_has_its_own_base_and_variables(daemon: Daemon, base: str, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(
        f"FROM {base}\nARG TARGETPLATFORM TARGETARCH\nENV FOR=$TARGETPLATFORM\n"
        "RUN echo $TARGETARCH > /for && head -c 5 /bin/busybox | tail -c 1 | od -An -tu1 > /bits\n"
    )
    out, layout = tmp_path / "out", tmp_path / "layout"
    told = daemon.corten(
        "build", "--network", "none", "--platform", f"{HOST},{NEAR}", "-o", str(out),
        "-o", f"type=oci,tar=false,dest={layout}", str(tmp_path),
    ).stderr  # fmt: skip
    assert f"[{HOST} 2/2] RUN echo $TARGETARCH" in told
    assert f"[{NEAR} 2/2] RUN echo $TARGETARCH" in told
    folders = {platform: out / platform.replace("/", "_") for platform in (HOST, NEAR)}
    found = {
        name: [(folder / file).read_text().strip() for file in ("for", "bits")] for name, folder in folders.items()
    }
    assert found == {HOST: [HOST.split("/")[1], "2"], NEAR: [NEAR.split("/")[1], "1"]}
    documents = index_of(layout)
    assert list(documents) == [HOST, NEAR]
    for platform, document in documents.items():
        assert platform.split("/")[1] == document["architecture"]
        assert f"FOR={platform}" in document["config"]["Env"]  # type: ignore[index]


def test_the_index_is_stored_saved_and_pushed_and_each_platform_comes_back(
    daemon: Daemon, registry: RealRegistry, base: str, tmp_path: Path
) -> None:
    name = f"{registry.host}/lab/both:1"
    dockerfile = f"FROM {base}\nARG TARGETARCH\nRUN echo $TARGETARCH > /for\n"
    metadata = daemon.corten(
        "build", "--network", "none", "--platform", f"{NEAR},{HOST}", "-t", name, "--push", "-", input=dockerfile
    )
    assert "pushing layers" in metadata.stderr
    assert daemon.out("run", "--rm", "--network", "none", name, "cat", "/for") == HOST.split("/")[1]
    saved = tmp_path / "saved.tar"
    daemon.out("save", "-o", str(saved), name)
    with tarfile.open(saved) as tar:
        (entry,) = json.load(tar.extractfile("index.json"))["manifests"]  # type: ignore[arg-type]
        index = json.load(tar.extractfile(f"blobs/sha256/{entry['digest'][7:]}"))  # type: ignore[arg-type]
    assert [found["platform"]["architecture"] for found in index["manifests"]] == [
        platform.split("/")[1] for platform in (NEAR, HOST)
    ]
    assert daemon.inspect(name)["Descriptor"]["digest"] == entry["digest"]
    daemon.out("rmi", name)
    daemon.out("pull", "--platform", NEAR, name)
    assert daemon.out("run", "--rm", "--network", "none", name, "cat", "/for") == NEAR.split("/")[1]


def test_a_second_build_takes_all_platforms_from_the_cache(daemon: Daemon, base: str) -> None:
    dockerfile = f"FROM {base}\nRUN echo cached > /c\n"
    flags = ("--network", "none", "--platform", f"{HOST},{NEAR}", "-o", "type=cacheonly", "-")
    daemon.corten("build", *flags, input=dockerfile)
    told = daemon.corten("build", *flags, input=dockerfile).stderr
    assert cached_steps(told) == 2
    assert "[internal] pull" not in told


def test_what_cannot_run_here_is_copied_and_cross_built_all_the_same(daemon: Daemon, base: str, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(
        f"FROM --platform=$BUILDPLATFORM {base} AS maker\nARG TARGETARCH\nRUN echo made for $TARGETARCH > /made\n"
        f"FROM {base}\nCOPY --from=maker /made /made\n"
    )
    layout = tmp_path / "layout"
    daemon.corten(
        "build", "--network", "none", "--platform", FAR, "-o", f"type=oci,tar=false,dest={layout}", str(tmp_path)
    )
    (entry,) = json.loads((layout / "index.json").read_bytes())["manifests"]
    document = blob(layout, blob(layout, entry["digest"])["config"]["digest"])  # type: ignore[index]
    assert document["architecture"] == FAR.split("/")[1]
    daemon.corten("build", "--network", "none", "--platform", FAR, "-o", str(tmp_path / "out"), str(tmp_path))
    assert (tmp_path / "out/made").read_text() == f"made for {FAR.split('/')[1]}\n"


def test_a_foreign_program_without_an_emulator_is_a_clear_error(daemon: Daemon, base: str) -> None:
    failed = daemon.corten(
        "build",
        "--force-rm",
        "--network",
        "none",
        "--platform",
        f"{HOST},{FAR}",
        "-",
        input=f"FROM {base}\nRUN true\n",
        check=False,
    )
    assert failed.returncode == 1
    assert "exec format error" in failed.stderr
    assert f"this machine runs no programs for {FAR}" in failed.stderr
    assert "binfmt_misc" in failed.stderr
    assert daemon.out("ps", "-aq") == ""


def test_platforms_that_are_none_or_not_there_are_told(daemon: Daemon, base: str) -> None:
    for platform, words in (("a/b/c/d", "cannot parse platform"), ("linux/s390x", "no matching manifest")):
        failed = daemon.corten("build", "--platform", f"{HOST},{platform}", "-", input=f"FROM {base}\n", check=False)
        assert failed.returncode == 1
        assert words in failed.stderr
