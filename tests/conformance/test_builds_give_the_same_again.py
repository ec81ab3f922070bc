"""SOURCE_DATE_EPOCH: the same input gives the same digests, with and without cache, in two engines; and --squash."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.lab import images
from tests.lab.daemon import Daemon, running_daemon

EPOCH = 1_700_000_000
DOCKERFILE = (
    "FROM busybox AS tools\nRUN echo tool > /tool\n"
    "FROM busybox\nWORKDIR /app/new\nCOPY . .\nADD packed.tar /packed/\nCOPY --from=tools /tool /bin/tool\n"
    "RUN mkdir -p /var/made && echo $RANDOM_FREE > /var/made/file && ln -s file /var/made/link && rm /etc/group\n"
    "RUN echo more >> /var/made/file && chown 5:6 /var/made/file\nLABEL a=b\n"
)


@pytest.fixture(scope="module")
def daemons() -> Iterator[tuple[Daemon, Daemon]]:
    with running_daemon() as one, running_daemon("--storage-driver", "overlay2") as other:
        for engine in (one, other):
            engine.docker("load", "-i", str(images.busybox()))
        yield one, other


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    (folder / "sub").mkdir(parents=True)
    (folder / "Dockerfile").write_text(DOCKERFILE)
    (folder / "sub/old").write_text("old")
    os.utime(folder / "sub/old", (1_000_000_000, 1_000_000_000))
    (folder / "packed.tar").write_bytes(ustar(b"inner", b"old", 1_000_000_000))
    for path, mode in (
        (folder, 0o755),
        (folder / "sub", 0o755),
        *((folder / name, 0o644) for name in ("Dockerfile", "sub/old", "packed.tar")),
    ):
        path.chmod(mode)
    return folder


def ustar(name: bytes, data: bytes, mtime: int) -> bytes:
    """An archive of one file; tarfile's differ from one version to the next."""
    fields = (name, b"0000644", b"0000000", b"0000000", b"%011o" % len(data), b"%011o" % mtime, b" " * 8, b"0")
    head = struct.pack("100s8s8s8s12s12s8s1s100x6s2s247x", *fields, b"ustar", b"00")
    head = head[:148] + b"%06o\0 " % sum(head) + head[156:]
    return head + data.ljust(512, b"\0") + bytes(1024)


def archive(daemon: Daemon, context: Path, out: Path, *flags: str) -> dict[str, str]:
    """The digests of all files in an archive of the build."""
    daemon.corten(
        "build", "--network", "none", "--build-arg", f"SOURCE_DATE_EPOCH={EPOCH}", "-t", "same:1",
        "-o", f"type=oci,dest={out},compression=gzip", *flags, str(context),
    )  # fmt: skip
    with tarfile.open(out) as tar:
        files = ((member.name, tar.extractfile(member)) for member in tar if member.isfile())
        return {name: hashlib.sha256(file.read()).hexdigest() for name, file in files if file is not None}


def test_the_same_input_gives_the_same_bytes_in_two_engines(
    daemons: tuple[Daemon, Daemon], context: Path, tmp_path: Path
) -> None:
    one, other = daemons
    # what the cache holds was made without a time, and with an older one
    one.corten("build", "--network", "none", str(context))
    archive(one, context, tmp_path / "older.tar", "--build-arg", "SOURCE_DATE_EPOCH=1600000000")
    first = archive(one, context, tmp_path / "1.tar")
    assert archive(one, context, tmp_path / "2.tar", "--no-cache") == first
    assert archive(other, context, tmp_path / "3.tar") == first
    assert archive(other, context, tmp_path / "4.tar") == first
    for engine in daemons:
        engine.corten(
            "build", "--network", "none", "--build-arg", f"SOURCE_DATE_EPOCH={EPOCH}", "-t", "same:1", str(context)
        )
    assert one.inspect("same:1")["Id"] == other.inspect("same:1")["Id"]
    assert one.inspect("same:1")["Id"][7:] in first.values()
    assert one.inspect("same:1")["Created"] == "2023-11-14T22:13:20Z"
    assert one.out("run", "--rm", "--network", "none", "same:1", "stat", "-c", "%Y", "/app/new/sub/old") == "1000000000"
    assert (
        one.out("run", "--rm", "--network", "none", "same:1", "stat", "-c", "%Y %u", "/var/made/file") == f"{EPOCH} 5"
    )


# The layers of DOCKERFILE above its base on every machine, with any kernel and driver, at any time. The guest of
# tests/qemu, whose kernel mounts no images of layers, has to give these, too.
LAYERS = [
    "sha256:b30f33ce4c154667e27dc1003f3142ea2c0e8e69bcce52c574beddde02540d08",
    "sha256:c5820a82f101379a5237c99be1b1c33c15041d2ae6a27ab076c9b47eae8c01ef",
    "sha256:7e9614bb4aee6cb77f47ac82770320bae34bfa76e968ea61c5f36dd8b589c896",
    "sha256:7d99b85a55fa6985eb2da9715ce3ed7bc5fb261e1dadd64f1cedbfbe72409394",
    "sha256:a6a61a02d7ea266a10adcc7a7b276690e06a94d08255873fc296c840da98b516",
    "sha256:9194d738792e72c9d9c203aa2bf4e0f9f5dd1a23d72fff93d771b6ee704c746a",
]


def test_layers_are_those_of_every_machine(daemons: tuple[Daemon, Daemon], context: Path) -> None:
    for engine in daemons:
        engine.corten(
            "build", "--network", "none", "--build-arg", f"SOURCE_DATE_EPOCH={EPOCH}", "-t", "same:2", str(context)
        )
        base = engine.inspect("busybox")["RootFS"]["Layers"]
        layers = engine.inspect("same:2")["RootFS"]["Layers"]
        assert layers[: len(base)] == base
        assert layers[len(base) :] == LAYERS


def test_the_environment_says_the_time_too_and_it_can_be_left_out_of_layers(
    daemons: tuple[Daemon, Daemon], context: Path, tmp_path: Path
) -> None:
    engine = daemons[0]
    engine.environment["SOURCE_DATE_EPOCH"] = str(EPOCH)
    try:
        engine.corten("build", "--network", "none", "-o", str(tmp_path / "out"), str(context))
        engine.corten(
            "build",
            "--network",
            "none",
            "-o",
            f"type=oci,dest={tmp_path / 'x.tar'},rewrite-timestamp=false",
            str(context),
        )
    finally:
        del engine.environment["SOURCE_DATE_EPOCH"]
    assert (tmp_path / "out/var/made/file").stat().st_mtime == EPOCH
    assert newest(tmp_path / "x.tar") > EPOCH
    archive(engine, context, tmp_path / "y.tar")
    assert newest(tmp_path / "y.tar") == EPOCH


def newest(path: Path) -> float:
    """The latest time in the new layers of an archive."""
    with tarfile.open(path) as tar:
        (entry,) = json.load(tar.extractfile("manifest.json"))  # type: ignore[arg-type]
        times = []
        for name in entry["Layers"][1:]:
            with tarfile.open(fileobj=tar.extractfile(name)) as layer:
                times += [float(member.mtime) for member in layer]
    return max(times)


SQUASHED = (
    "FROM busybox\nRUN mkdir /gone /kept && echo 1 > /gone/file && echo 1 > /kept/file && ln /kept/file /kept/hard\n"
    "RUN rm -r /gone && rm /etc/group && echo 2 > /kept/file && mkdir /home/x && touch /home/x/y\n"
    "RUN rm -r /var && mkdir /var && echo new > /var/only && rm -r /home && echo file > /home\nENV A=b\n"
)


def files(daemon: Daemon, name: str) -> str:
    script = "find / -xdev ! -path '/dev*' ! -path '/proc*' ! -path '/sys*' ! -path '/etc/*' | sort; cat /kept/* /var/only /home"
    return daemon.out("run", "--rm", "--network", "none", name, "sh", "-c", script)


def test_squash_makes_one_layer_with_the_same_files_and_dockers_history(daemons: tuple[Daemon, Daemon]) -> None:
    engine = daemons[0]
    base = engine.inspect("busybox")
    engine.corten("build", "--network", "none", "-t", "long:1", "-", input=SQUASHED)
    engine.corten("build", "--network", "none", "--squash", "-t", "flat:1", "-", input=SQUASHED)
    long, flat = engine.inspect("long:1"), engine.inspect("flat:1")
    assert long["Id"] != flat["Id"]
    layers = flat["RootFS"]["Layers"]
    assert layers[:-1] == base["RootFS"]["Layers"]
    assert len(long["RootFS"]["Layers"]) == len(base["RootFS"]["Layers"]) + 3
    assert files(engine, "flat:1") == files(engine, "long:1")
    assert flat["Config"] == long["Config"]
    rows = engine.out(
        "history", "--no-trunc", "--format", "{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}", "flat:1"
    ).splitlines()
    assert rows[0].endswith(f"merge {long['Id']} to {base['Id']}")
    assert [row.split("\t")[1] for row in rows[1:5]] == ["0B"] * 4
    assert engine.docker("run", "--rm", "--network", "none", "flat:1", "ls", "/etc/group", check=False).returncode != 0


def test_squash_of_the_classic_api_and_from_scratch(daemons: tuple[Daemon, Daemon], context: Path) -> None:
    import docker

    engine = daemons[0]
    (context / "Dockerfile").write_text("FROM scratch\nCOPY sub /a\nCOPY packed.tar /b/\n")
    client = docker.APIClient(base_url=engine.host, version="1.43")
    try:
        for tag, squash in (("scratch:1", True), ("scratch:2", False)):
            told = list(client.build(path=str(context), tag=tag, squash=squash, decode=True))
            assert not any("error" in message for message in told)
    finally:
        client.close()
    assert len(engine.inspect("scratch:1")["RootFS"]["Layers"]) == 1
    comment = engine.out("history", "--no-trunc", "--format", "{{.Comment}}", "scratch:1").splitlines()[0]
    assert comment == f"create new from {engine.inspect('scratch:2')['Id']}"
