"""What is done to images and containers between two looks at the store, each step so that it can be done again; and the
looks: nothing is wrong, nothing is left, every byte is explained."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.lab import images
from tests.lab.daemon import Daemon

from corten.linux import rtnetlink
from corten.linux.netlink import NetlinkSocket
from corten.network.drivers.links import owner_group
from corten.testing.made_images import tar_of
from corten.testing.registry import FakeRegistry

Step = Callable[[], object]
FILES = [{"bin/tool": b"#!/bin/true\n" * 9000, "etc/one": b"1\n"}, {"etc/two": b"2\n" * 500}]
_INGESTS = 4
_DOCKERFILE = "FROM busybox\nRUN echo made > /made && touch -d @1 /made /\nCOPY one /\nRUN true\n"
_SLACK = 128 << 10  # SQLite's log may grow between two looks


class Steps:
    """The steps against one daemon; `image` is pulled from a registry of the test's own."""

    def __init__(self, daemon: Daemon, registry: FakeRegistry, folder: Path) -> None:
        self.daemon = daemon
        registry.add_image("lab/demo", "1", files=FILES)
        self.image = f"{registry.host}/lab/demo:1"
        self.archive = folder / "saved.tar"
        self.tree = folder / "tree.tar"
        self.tree.write_bytes(tar_of({"imported": b"x" * 5000}))
        self.context = folder / "context"
        self.context.mkdir()
        (self.context / "one").write_bytes(b"1" * 5000)
        (self.context / "Dockerfile").write_text(_DOCKERFILE)
        self.copied = folder / "copied"
        self.copied.write_bytes(b"c" * 5000)

    def _run(self, *arguments: str) -> str:
        return self.daemon.out(*arguments)

    def clear(self) -> None:
        """Remove all containers, volumes and images."""
        containers = self._run("ps", "-aq").split()
        if containers:
            self._run("rm", "-f", "-v", *containers)
        volumes = self._run("volume", "ls", "-q").split()
        if volumes:
            self._run("volume", "rm", *volumes)
        for image in self._run("images", "-q", "--no-trunc").split():
            self.daemon.docker("rmi", "-f", image, check=False)
        self._run("image", "prune", "-a", "-f")
        self._run("builder", "prune", "-a", "-f")
        assert self._run("images", "-aq") == ""

    def pull(self) -> None:
        self._run("pull", "-q", self.image)

    def connect_nobody(self) -> None:
        """A network comes and goes, that of a first attempt, too."""
        self.daemon.docker("network", "rm", "-f", "app", check=False)
        self._run("network", "create", "app")
        self._run("network", "rm", "app")

    def create(self) -> None:
        self._run("create", "--name", "one", "-v", "kept:/kept", self.image, "/bin/tool")
        self._run("cp", str(self.copied), "one:/etc/copied")

    def commit(self) -> None:
        self._run("commit", "one", "made:1")

    def build_up(self) -> None:
        """A second image under the name of the first leaves that one dangling."""
        self._run("import", str(self.tree), "made:1")

    def build(self) -> None:
        """Layers of a command and of a copy, and a step that has none; with fixed times the same ones when it is done
        again, so that nothing of the first attempt is left over."""
        self.daemon.docker("load", "-i", str(images.busybox()))
        self.daemon.corten("build", "--build-arg", "SOURCE_DATE_EPOCH=1", "-t", "built:1", str(self.context))
        assert self._run("run", "--rm", "--network", "none", "built:1", "cat", "/made") == "made"

    def prune(self) -> None:
        self._run("rm", "one")
        self._run("image", "prune", "-f")

    def remove(self) -> None:
        self._run("rmi", "made:1", self.image)
        self._run("volume", "rm", "kept")

    def save(self) -> None:
        self.daemon.docker("save", "-o", str(self.archive), self.image)

    def load(self) -> None:
        self.daemon.docker("load", "-i", str(self.archive))

    def pulling(self) -> Iterator[Step]:
        """An image comes, is used, changed, replaced and removed."""
        yield from (
            self.clear,
            self.connect_nobody,
            self.pull,
            self.create,
            self.commit,
            self.build_up,
            self.build,
            self.prune,
        )
        yield self.remove

    def loading(self) -> Iterator[Step]:
        """An archive is read."""
        yield from (self.clear, self.connect_nobody, self.load, self.create, self.commit, self.build, self.clear)


def problems(daemon: Daemon) -> list[str]:
    """What is not as it must be, now that nothing is going on."""
    check = daemon.corten("fsck", check=False)
    found = [f"fsck {check.returncode}:\n{check.stdout}{check.stderr}"] if check.returncode else []
    mounts = Path("/proc/mounts").read_text().splitlines()
    found += [f"mount {line.split()[1]}" for line in mounts if f"{daemon.data_root}/" in line]
    found += [f"{where}/{name}" for where, _, names in os.walk(daemon.data_root) for name in names if _half_made(name)]
    ingests = list((daemon.data_root / "content/ingest").iterdir())
    found += [f"{len(ingests)} ingests"] if len(ingests) > _INGESTS else []
    return found + dying_links(daemon) + unexplained(daemon)


def dying_links(daemon: Daemon) -> list[str]:
    """This daemon's links that no network of its has."""
    group = owner_group(f"corten-{daemon.instance}")
    with NetlinkSocket() as netlink:
        own = {link.name for link in rtnetlink.list_links(netlink) if link.group == group}
    ids = daemon.out("network", "ls", "-q").split()
    return [f"link {name}" for name in own - {f"ct{daemon.instance}", *(f"br-{network}" for network in ids)}]


def _half_made(name: str) -> bool:
    """Whether a file has the name of one that is being written, and is renamed in the end."""
    return name.endswith(".tmp") or name.startswith("new-")


def kept(daemon: Daemon) -> dict[str, int]:
    """How many things of each kind there are, that go with images, containers and volumes."""
    kinds = ("Image blobs", "Image layers", "Container layers", "Container logs and files", "Volumes")
    rows = {row["Type"]: row["Count"] for row in disk_usage(daemon)}
    rows["Broken pulls"] = rows["Broken pulls, kept to go on"]
    return {kind: rows[kind] for kind in (*kinds, "Broken pulls") if rows[kind]}


def disk_usage(daemon: Daemon) -> list[dict[str, Any]]:
    """The rows of `system df -v` that Corten adds."""
    connection = http.client.HTTPConnection("corten")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(daemon.socket))
    connection.request("GET", "/system/df?type=all-bytes")
    answer = json.loads(connection.getresponse().read())
    connection.close()
    rows: list[dict[str, Any]] = answer["Corten"]
    return rows


def unexplained(daemon: Daemon) -> list[str]:
    """Where `system df -v` and du(1) differ, and what waits to be deleted."""
    rows = {row["Type"]: row["Size"] for row in disk_usage(daemon)}
    du = ["du", "-sx", "--block-size=1", daemon.data_root]  # which fails when something is deleted meanwhile
    said = int(subprocess.run(du, text=True, check=False, stdout=subprocess.PIPE).stdout.split()[0])
    found = [] if abs(sum(rows.values()) - said) <= _SLACK else [f"df says {rows}, du {said}"]
    waiting = {kind: rows[kind] for kind in ("Deleted, not yet freed", "Archives being read") if rows[kind]}
    return found + [f"{kind}: {size} bytes" for kind, size in waiting.items()]
