"""A repository of Debian packages for apt in containers: flat, unsigned, of what a root file system lacks."""

from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab.cache import cached, run

_DEPENDS = (
    "apt-cache", "depends", "--recurse", "--no-recommends", "--no-suggests", "--no-conflicts", "--no-breaks",
    "--no-replaces", "--no-enhances",
)  # fmt: skip


def repository(rootfs: Path, *packages: str) -> Path:
    """A folder with the packages, what they need and `rootfs` has not, and an index of them."""

    def build(path: Path) -> None:
        path.mkdir()
        listed = subprocess.run([*_DEPENDS, *packages], capture_output=True, text=True, check=True).stdout.splitlines()
        there = installed(rootfs)
        wanted = [line for line in listed if line[:1].isalnum() and line not in there]
        run("apt-get", "download", "-qq", *wanted, cwd=path)
        index = "".join(_entry(file) for file in sorted(path.glob("*.deb")))
        (path / "Packages.gz").write_bytes(gzip.compress(index.encode()))

    return cached("packages-" + "-".join(packages), f"{rootfs.name} {packages} 1", build)


def installed(rootfs: Path) -> set[str]:
    """The packages of a root file system's tar."""
    with tarfile.open(rootfs) as tar:
        for name in ("./var/lib/dpkg/status", "var/lib/dpkg/status"):
            if name in tar.getnames():
                file = tar.extractfile(name)
                assert file is not None
                lines = file.read().decode().splitlines()
                return {line.removeprefix("Package: ") for line in lines if line.startswith("Package: ")}
    raise AssertionError(f"{rootfs} is no Debian system")


def _entry(file: Path) -> str:
    control = subprocess.run(["dpkg-deb", "-f", file], capture_output=True, text=True, check=True).stdout
    data = file.read_bytes()
    return f"{control}Filename: ./{file.name}\nSize: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n\n"


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served(folder: Path, address: str) -> Iterator[int]:
    """A web server of a folder at an address of this machine; its port."""
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer((address, 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()
