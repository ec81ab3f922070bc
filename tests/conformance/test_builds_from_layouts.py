"""`--build-context name=oci-layout://...`: base images and files out of a layout of the client's, by both clients."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.lab import images
from tests.lab.daemon import Daemon, running_daemon
from tests.lab.plugins import with_plugins

from corten.build.caching.layout import LayoutSource
from corten.linux.acting import Identity
from corten.registry.fetch import Buffer
from corten.spec.oci_image import Descriptor

Build = Callable[..., "subprocess.CompletedProcess[str]"]
BASE = "FROM busybox\nRUN echo of the layout > /made\nENV FROM_BASE=yes\nONBUILD RUN echo triggered > /triggered\n"


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with running_daemon() as engine:
        with_plugins(engine)
        engine.environment["BUILDKIT_PROGRESS"] = "plain"
        engine.docker("load", "-i", str(images.busybox()))
        yield engine


@pytest.fixture
def layout(daemon: Daemon, tmp_path: Path) -> Path:
    """A layout with the tag `1` whose image the engine does not have, nor its layers."""
    path = tmp_path / "a layout"
    unique = f"LABEL unique={os.urandom(8).hex()}\nRUN echo {os.urandom(8).hex()} > /unique\n"
    output = f"type=oci,tar=false,compression=gzip,dest={path}"
    daemon.corten("build", "--network", "none", "-t", "base:1", "-o", output, "-", input=BASE + unique)
    daemon.out("builder", "prune", "-af")
    return path


@pytest.fixture(params=["corten", "docker"])
def build(request: pytest.FixtureRequest, daemon: Daemon, tmp_path: Path) -> Build:
    """Build with one of the clients, in an empty context; messages are in stderr."""
    context = tmp_path / "context"
    context.mkdir()

    def run(dockerfile: str, *flags: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        (context / "Dockerfile").write_text(dockerfile)
        client = getattr(daemon, request.param)
        done: subprocess.CompletedProcess[str] = client("build", "--network", "none", *flags, str(context), check=check)
        return done

    return run


def digest_of(layout: Path) -> str:
    (entry,) = json.loads((layout / "index.json").read_bytes())["manifests"]
    assert isinstance(entry["digest"], str)
    return entry["digest"]


def layers_of(layout: Path, digest: str) -> list[Path]:
    document = json.loads((layout / "blobs/sha256" / digest[7:]).read_bytes())
    if "manifests" in document:
        return layers_of(layout, document["manifests"][0]["digest"])
    return [layout / "blobs/sha256" / layer["digest"][7:] for layer in document["layers"]]


def test_an_image_of_a_layout_is_a_base_and_gives_files(daemon: Daemon, build: Build, layout: Path) -> None:
    text = (
        "FROM base\nRUN cat /made /triggered > /read\n"
        "FROM busybox\nCOPY --from=0 /read /read\nCOPY --from=base /unique /u\n"
        "RUN --mount=from=base,target=/m cat /m/made > /mounted\n"
    )
    flags = ("-t", "t:1", "--build-context", f"base=oci-layout://{layout}:1")
    build(text, *flags)
    said = daemon.out("run", "--rm", "--network", "none", "t:1", "cat", "/read", "/mounted").split("\n")
    assert said == ["of the layout", "triggered", "of the layout"]
    again = build(text, *flags).stderr
    assert again.count("CACHED") == 4 or "cached" in again.lower(), again
    assert daemon.docker("image", "inspect", "base", check=False).returncode == 1  # it has got no name here
    build(
        "FROM base\nRUN true\n", "-t", "t:2", "--build-context", f"base=oci-layout://{layout}:gone@{digest_of(layout)}"
    )
    assert "FROM_BASE=yes" in daemon.inspect("t:2")["Config"]["Env"]


def test_what_is_not_there_or_not_what_it_says_is_refused(daemon: Daemon, build: Build, layout: Path) -> None:
    def fails(value: str) -> str:
        done = build("FROM base\nRUN true\n", "--no-cache", "--build-context", f"base={value}", check=False)
        assert done.returncode == 1, done.stderr
        return done.stderr.lower()

    missing = hashlib.sha256(b"").hexdigest()
    said = fails(f"oci-layout://{layout}@sha256:{missing}")
    assert f"has no blobs/sha256/{missing}" in said or f"sha256:{missing}: not found" in said
    layer = layers_of(layout, digest_of(layout))[-1]
    data = bytearray(layer.read_bytes())
    data[-1] ^= 1
    layer.write_bytes(data)
    assert f"sha256:{layer.name}" in fails(f"oci-layout://{layout}:1").splitlines()[-1]
    top = layout / "blobs/sha256" / digest_of(layout)[7:]
    top.write_bytes(top.read_bytes() + b" ")
    assert "manifest verification failed" in fails(f"oci-layout://{layout}:1")


def test_a_tag_has_to_be_there_and_may_be_left_out_where_there_is_one_image(daemon: Daemon, layout: Path) -> None:
    def built(value: str, *, check: bool = True) -> str:
        argv = ("build", "--network", "none", "--no-cache", "--build-context", f"base={value}", "-")
        return daemon.corten(*argv, input="FROM base\nRUN cat /made\n", check=check).stderr

    assert "of the layout" in built(f"oci-layout://{layout}")
    assert "the directory has nothing with the tag 'none'" in built(f"oci-layout://{layout}:none", check=False)
    output = f"type=oci,tar=false,dest={layout}"
    daemon.corten(
        "build", "--network", "none", "-t", "base:2", "-o", output, "-", input="FROM busybox\nRUN echo second > /made\n"
    )
    assert "second" in built(f"oci-layout://{layout}:2")
    assert "the directory has nothing with the tag 'latest'" in built(f"oci-layout://{layout}", check=False)


def test_an_engine_that_cannot_be_passed_directories_is_not_asked(daemon: Daemon, layout: Path) -> None:
    failed = daemon.corten(
        "build", "--build-context", f"base=oci-layout://{layout}/none:1", "-", input="FROM base\n", check=False
    )
    assert "failed to get build context layout" in failed.stderr
    archive = layout.parent / "x.tar"
    subprocess.run(["tar", "-cf", archive, "-C", layout, "index.json"], check=True)
    with archive.open("rb") as context:
        failed = daemon.corten(
            "build", "--build-context", f"base=oci-layout://{layout}:1", "-", stdin=context, check=False
        )
    assert "needs an engine on this machine that is Corten's" in failed.stderr


def test_a_layout_is_read_with_the_rights_of_its_client(layout: Path) -> None:
    for folder in (layout, *layout.parents[:2]):
        folder.chmod(0o755)
    secret = layers_of(layout, digest_of(layout))[0]
    secret.chmod(0o600)
    fd = os.open(layout, os.O_RDONLY | os.O_DIRECTORY)
    try:
        source = LayoutSource(lambda: os.dup(fd), Identity(65534, 65534))
        top = source.top("1", "")
        assert top.digest == digest_of(layout)
        descriptor = Descriptor(media_type="x", digest=f"sha256:{secret.name}", size=secret.stat().st_size)
        with pytest.raises(PermissionError):
            source.blob(descriptor, Buffer())
        secret.chmod(0o644)
        source.blob(descriptor, Buffer())
    finally:
        os.close(fd)
