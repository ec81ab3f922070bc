"""Paths of a container are looked up in the container, whatever its links and its process number say."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
from pathlib import Path

import msgspec
import pytest

from corten.engine.containers.record import ContainerRecord, MountRecord
from corten.engine.containers.roots import ContainerRoot, container_root, open_directory, open_parent, wanted
from corten.engine.containers.status import ContainerStatus, Status
from corten.errors import InvalidArgument
from corten.spec.docker.container import ContainerConfig
from corten.spec.docker.hostconfig import HostConfig


class Snapshots:
    def __init__(self, root: Path) -> None:
        self._root = root

    def root_fd(self, key: str, *, writable: bool = True) -> int:
        return os.open(self._root, os.O_PATH | os.O_DIRECTORY)


@pytest.fixture
def snapshots(tmp_path: Path) -> Snapshots:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc/passwd").write_text("the container's")
    (root / "var").mkdir()
    (root / "run").mkdir()
    (root / "var/run").symlink_to("/run")
    (root / "up").symlink_to("../../../../../../etc")
    (root / "loop").symlink_to("loop")
    (root / "data").symlink_to("/vol")
    volume = tmp_path / "volume"
    (volume / "sub").mkdir(parents=True)
    (volume / "out").symlink_to("/etc")
    (tmp_path / "file").write_text("one file")
    return Snapshots(root)


def record(tmp_path: Path, *mounts: MountRecord, **status: object) -> ContainerRecord:
    return ContainerRecord(
        id="f" * 64,
        name="n",
        created_ns=0,
        image_id="",
        chain_id="",
        config=ContainerConfig(),
        host_config=HostConfig(),
        path="true",
        args=[],
        mounts=mounts or (
            MountRecord(type="volume", destination="/vol", source=str(tmp_path / "volume")),
            MountRecord(type="bind", destination="/var/run/x", source=str(tmp_path / "file"), read_only=True),
        ),
        status=ContainerStatus(**status),  # type: ignore[arg-type]
    )  # fmt: skip


def content(root: ContainerRoot, path: str) -> str:
    parent, name = open_parent(root.place(root.canonical(path, last=True)))
    try:
        with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=parent)) as file:
            return file.read()
    finally:
        os.close(parent)


def test_a_number_that_is_another_process_now_is_not_entered(tmp_path: Path, snapshots: Snapshots) -> None:
    ours = record(tmp_path, status=Status.RUNNING, pid=os.getpid())
    with container_root(ours, snapshots, writable=False) as root:
        assert content(root, "/etc/passwd") == "the container's"


def test_the_root_of_a_process_is_found_also_when_a_thousand_descriptors_are_open(
    tmp_path: Path, snapshots: Snapshots
) -> None:
    ours = msgspec.structs.replace(record(tmp_path, status=Status.RUNNING, pid=os.getpid()), id=":")  # in any cgroup
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(2048, limits[0]), max(2048, limits[1])))
    with contextlib.ExitStack() as closing:
        closing.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        for _ in range(1100):
            closing.callback(os.close, os.open("/", os.O_PATH))
        before = len(os.listdir("/proc/self/fd"))
        with container_root(ours, snapshots, writable=False) as root:
            assert os.path.samestat(os.fstat(root.place("/").root), os.stat("/"))
        assert len(os.listdir("/proc/self/fd")) == before


def test_links_stay_inside_and_lead_into_mounts(tmp_path: Path, snapshots: Snapshots) -> None:
    with container_root(record(tmp_path), snapshots, writable=False) as root:
        assert content(root, "/up/passwd") == "the container's"
        assert content(root, "/run/x") == content(root, "/var/run/x") == "one file"
        assert root.canonical("/data/sub", last=True) == "/vol/sub"
        assert root.canonical("/data/out/passwd", last=True) == "/etc/passwd"
        os.close(open_directory(root.place("/vol/sub")))
        assert (root.place("/run/x").read_only, root.place("/vol").read_only) == (True, False)
        assert root.mounts_below("/") == ["/vol", "/run/x"]
        assert root.mounts_below("/vol") == []
        with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
            root.canonical("/loop", last=True)
        with pytest.raises(FileNotFoundError):
            open_parent(root.place("/absent/x"))


def test_descriptors_are_closed_with_the_root(tmp_path: Path, snapshots: Snapshots) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with container_root(record(tmp_path), snapshots, writable=False) as root:
        root.place("/vol/sub")
        root.place("/run/x")
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("text", "path", "base", "follow"),
    [
        ("/etc", "/etc", "etc", False), ("etc/", "/etc", "etc", True), ("/etc/.", "/etc", ".", True), (".", "/", ".", True),
        ("/", "/", "/", True), ("//a//../b", "/b", "b", False), ("/../..", "/", "/", False), ("/a/./", "/a", ".", True),
    ],
)  # fmt: skip
def test_names_are_read_as_docker_reads_them(text: str, path: str, base: str, follow: bool) -> None:
    assert wanted(text)[1:] == (path, base, follow)


@pytest.mark.parametrize("text", ["", "a\0b", "x" * 5000])
def test_what_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        wanted(text)
