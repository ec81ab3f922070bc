"""The same Dockerfiles built by Docker 26 and by Corten: equal configurations, and equal files entry by entry."""

from __future__ import annotations

import hashlib
import json
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.conformance.dockerfiles import CASES, write_context
from tests.lab import images
from tests.lab.daemon import Daemon, running_daemon
from tests.lab.peers import Dockerd

# Docker's own, in a container that was never started: an engine makes these, a build does not.
ENGINES = {"dev/", "etc/", "proc/", "sys/", ".dockerenv", "etc/hostname", "etc/hosts", "etc/mtab", "etc/resolv.conf"}
EMPTY = (None, "", [], {}, False)


When = int | str


class Entry(NamedTuple):
    """What an archive says of a file."""

    type: bytes
    mode: str
    owner: tuple[int, int]
    link: str
    when: When
    attributes: dict[str, str]
    content: str


class Docker:
    """Docker 26, with BuildKit or the classic builder."""

    def __init__(self, engine: Dockerd, *, buildkit: bool) -> None:
        self._engine = engine
        self._builder = f"DOCKER_BUILDKIT={int(buildkit)}"

    def out(self, *arguments: str) -> str:
        command = ["env", self._builder, "HOME=/lab-shared", "docker", "-H", "unix:///lab-shared/docker.sock"]
        done = subprocess.run(self._engine.inside(*command, *arguments), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def builds() -> Iterator[dict[str, tuple[Any, Any]]]:
    """Name to what Docker's BuildKit and what Corten made."""
    with both(buildkit=True) as made:
        yield made


@contextmanager
def both(*, buildkit: bool) -> Iterator[dict[str, tuple[Any, Any]]]:
    """Name to what Docker and what Corten made; a text is what went wrong."""
    shared = Path(tempfile.mkdtemp(prefix="corten-builds-", dir="/var/tmp"))  # overlayfs needs a real file system
    context = shared / "context"
    write_context(context)
    base = images.busybox()
    (shared / "busybox.tar").write_bytes(base.read_bytes())
    engine = Dockerd(shared)
    try:
        with running_daemon() as daemon:
            daemon.environment["DOCKER_BUILDKIT"] = "0"
            engine.wait()
            docker = Docker(engine, buildkit=buildkit)
            docker.out("load", "-i", "/lab-shared/busybox.tar")
            daemon.docker("load", "-i", str(base))
            yield _all(docker, daemon, shared)
    finally:
        engine.stop()
        subprocess.run(["rm", "-rf", "--one-file-system", str(shared)], check=True)


def _all(docker: Docker, daemon: Daemon, shared: Path) -> dict[str, tuple[Any, Any]]:
    """Every case with both, side by side."""
    begun = time.time() - 1
    for number, (text, _flags) in enumerate(CASES.values()):
        (shared / f"context/Dockerfile.{number}").write_bytes(text.encode())

    def made(out: Callable[..., str], folder: str, number: int, flags: tuple[str, ...]) -> Any:
        file, tag = f"{folder}/context/Dockerfile.{number}", f"t:{number}"
        out("build", "-q", "-t", tag, "-f", file, *flags, f"{folder}/context")
        image = json.loads(out("image", "inspect", tag))[0]
        export = f"{out.__self__.__class__.__name__}.{number}.tar"
        out("export", "-o", f"{folder}/{export}", out("create", tag, "x").strip())
        config = {name: value for name, value in image["Config"].items() if value not in EMPTY}
        return {**config, "Author": image.get("Author", "")}, _tree(shared / export, begun)

    with ThreadPoolExecutor(4) as pool:
        futures = [
            (pool.submit(made, docker.out, "/lab-shared", *case), pool.submit(made, daemon.out, str(shared), *case))
            for case in enumerate(flags for _text, flags in CASES.values())
        ]
        return {name: (_result(one), _result(other)) for name, (one, other) in zip(CASES, futures, strict=True)}


def _result(future: Any) -> Any:
    try:
        return future.result()
    except (AssertionError, subprocess.CalledProcessError) as error:
        return f"{error} {getattr(error, 'stderr', '')} {getattr(error, 'stdout', '')}"


def _tree(file: Path, begun: float) -> dict[str, Entry]:
    """Its entries; times are told of what is older than the builds, as no two make their files in one second."""
    entries = {}
    with tarfile.open(file) as archive:
        for member in archive:
            name = member.name.removeprefix("./") + ("/" if member.isdir() else "")
            if name in ENGINES or name.startswith("dev/"):
                continue
            data = archive.extractfile(member) if member.isfile() else None
            content = hashlib.sha256(data.read()).hexdigest() if data else ""
            attributes = {key: value for key, value in member.pax_headers.items() if key.startswith("SCHILY.xattr.")}
            when: When = int(member.mtime) if member.mtime < begun else "of the build"
            owner = (member.uid, member.gid)
            entries[name] = Entry(member.type, oct(member.mode), owner, member.linkname, when, attributes, content)
    file.unlink()
    return entries


# A directory that an archive has no entry for, and a file in: Docker makes it now, Corten always the same.
IMPLIED = {"add an archive": {"x/t/": 0}}


def _with_their_times(tree: dict[str, Entry], times: dict[str, When]) -> dict[str, Entry]:
    assert times.keys() <= tree.keys()
    return {name: entry._replace(when=times.get(name, entry.when)) for name, entry in tree.items()}


@pytest.mark.parametrize("name", CASES)
def test_the_image_is_dockers(builds: dict[str, tuple[Any, Any]], name: str) -> None:
    docker, corten = builds[name]
    assert not isinstance(docker, str), docker
    assert not isinstance(corten, str), corten
    assert corten[0] == docker[0]
    assert corten[1] == _with_their_times(docker[1], IMPLIED.get(name, {}))


# What the classic builder of Docker 26 knows nothing of, or says in the configuration and BuildKit does not.
UNKNOWN_TO_CLASSIC = {"platform arguments", "run a script", "run here-documents"}
OF_CLASSIC = {"Image", "ArgsEscaped"}
# Directories that a directory's content went to have its time with BuildKit, as with Corten.
OF_BUILDKIT = {
    "copy several": {"x/"},
    "copy a directory's content": {"x/", "y/"},
    "copy links": {"y/"},
    "copy with an owner": {"x/"},
    "copy an empty directory": {"x/empty/"},
    "copy a link into a directory": {"d/e/"},
}


def test_the_classic_builders_images_are_the_same_but_for_what_it_does_not_know() -> None:
    with both(buildkit=False) as made:
        built = {name: pair for name, pair in made.items() if not isinstance(pair[0], str)}
    assert len(built) >= 45
    for name in built.keys() - UNKNOWN_TO_CLASSIC:
        (docker_config, docker_files), (corten_config, corten_files) = built[name]
        times = IMPLIED.get(name, {}) | {path: corten_files[path].when for path in OF_BUILDKIT.get(name, ())}
        assert corten_files == _with_their_times(docker_files, times), name
        docker_config.setdefault("WorkingDir", "/")  # as BuildKit, which sets it where the base has none
        corten_config.setdefault("WorkingDir", "/")
        assert _without(corten_config, OF_CLASSIC) == _without(docker_config, OF_CLASSIC), name


def _without(config: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name not in names}
