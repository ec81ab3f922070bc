"""One build for several platforms: each from its own base, one index of all, foreign programs as far as they can run."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.lab import emulators, images
from tests.lab.daemon import Daemon, running_daemon
from tests.lab.plugins import with_plugins
from tests.lab.registry import RealRegistry, real_registry

from corten.spec.platform import host_platform
from corten.testing.indexes import make_index

HOST = str(host_platform())
# What runs here without an emulator, and what does not.
NEAR, NEAR_DEBIAN = {"linux/amd64": ("linux/386", "i386"), "linux/arm64": ("linux/arm/v7", "armhf")}[HOST]
FAR, FAR_DEBIAN = {"linux/amd64": ("linux/arm64", "arm64"), "linux/arm64": ("linux/amd64", "amd64")}[HOST]
EMULATOR_FLAGS = "POCF"  # of Debian's package, and of Docker's image of emulators
CONFIG = {"Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], "Cmd": ["sh"]}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealRegistry]:
    with real_registry(tmp_path_factory.mktemp("registry")) as found:
        yield found


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with running_daemon() as engine:
        with_plugins(engine)
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
    daemon.corten(
        "build", "--network", "none", "--platform", f"{HOST},{NEAR}", "-o", str(out),
        "-o", f"type=oci,tar=false,dest={layout}", str(tmp_path),
    )  # fmt: skip
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
    written = tmp_path / "id"
    daemon.corten(
        "build", "--network", "none", "--platform", f"{NEAR},{HOST}", "-t", name, "--push", "--iidfile", str(written),
        "-", input=dockerfile,
    )  # fmt: skip
    assert daemon.inspect(name)["Id"] == written.read_text()
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


def test_lines_of_the_classic_stream_name_the_platform_and_all_comes_from_the_cache(
    daemon: Daemon, base: str, tmp_path: Path
) -> None:
    import docker

    (tmp_path / "Dockerfile").write_text(f"FROM {base}\nRUN echo -n cached; echo > /c\n")
    client = docker.APIClient(base_url=daemon.host, version="1.43")
    try:

        def told() -> list[str]:
            found = client.build(
                path=str(tmp_path), platform=f"{HOST},{NEAR}", network_mode="none", rm=True, decode=True
            )
            return "".join(message.get("stream", "") for message in found).splitlines()

        first, second = told(), told()
    finally:
        client.close()
    for platform in (HOST, NEAR):
        assert f"[{platform}] Step 1/2 : FROM {base}" in first
        assert f"[{platform}] cached" in "\n".join(first)
        assert f"[{platform}]  ---> Using cache" in second
    assert not any("Running in" in line or "Pulling" in line for line in second)


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
    assert failed.returncode != 0
    assert "exec format error" in failed.stderr
    assert f"this machine runs no programs for {FAR}" in failed.stderr
    assert "binfmt_misc" in failed.stderr
    assert daemon.out("ps", "-aq") == ""


def test_a_foreign_program_runs_through_an_emulator(
    daemon: Daemon, registry: RealRegistry, base: str, tmp_path: Path
) -> None:
    (tmp_path / "Dockerfile").write_text(
        f"FROM {base}\nARG TARGETARCH\nRUN uname -m > /machine && echo $TARGETARCH > /for && cat /for /machine\n"
    )
    machines = {platform: "aarch64" if platform == "linux/arm64" else "x86_64" for platform in (HOST, FAR)}
    image, layout = f"{registry.host}/lab/emulated:1", tmp_path / "layout"
    assert FAR not in daemon.out("buildx", "inspect")
    with emulators.registered(FAR.split("/")[1], EMULATOR_FLAGS):
        daemon.corten(
            "build", "--network", "none", "--platform", f"{FAR},{HOST}", "-o", f"type=registry,name={image}",
            "-o", f"type=oci,tar=false,dest={layout}", str(tmp_path),
        )  # fmt: skip
        assert sorted(index_of(layout)) == sorted(machines)
        for platform, machine in machines.items():
            # what is not here for the platform is pulled
            argv = ("run", "--rm", "--network", "none", "--platform", platform, image, "sh", "-c")
            said = daemon.corten(*argv, "uname -m; cat /machine /for").stdout.split()
            assert said == [machine, machine, platform.split("/")[1]]
        # whoever asks is told, now and not as it was at the start
        assert FAR in daemon.out("buildx", "inspect")
        assert FAR in daemon.out("buildx", "ls")
        assert f"{HOST}, {FAR}" in daemon.corten("buildx", "ls").stdout
        built = daemon.docker("build", "--network", "none", "--platform", FAR, "--no-cache", "-q", str(tmp_path))
        assert daemon.inspect(built.stdout.strip())["Architecture"] == FAR.split("/")[1]
    assert FAR not in daemon.out("buildx", "inspect")
    assert FAR not in daemon.corten("buildx", "inspect").stdout


def test_platforms_that_are_none_or_not_there_are_told(daemon: Daemon, base: str) -> None:
    for platform, words in (("a/b/c/d", "cannot parse platform"), ("linux/s390x", "no matching manifest")):
        failed = daemon.corten("build", "--platform", f"{HOST},{platform}", "-", input=f"FROM {base}\n", check=False)
        assert failed.returncode == 1
        assert words in failed.stderr
