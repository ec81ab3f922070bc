"""A real registry: Debian's docker-registry, unpacked and not installed, on a free loopback port."""

from __future__ import annotations

import contextlib
import os
import random
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.lab.cache import cached, run

_CONFIG = """
version: 0.1
log: {{level: error, accesslog: {{disabled: false}}}}
storage: {{filesystem: {{rootdirectory: {root}}}, delete: {{enabled: true}}}}
http: {{addr: "{host}"{tls}}}
{auth}
"""


@dataclass(frozen=True)
class RealRegistry:
    """Where it listens, and its process."""

    host: str
    process: subprocess.Popen[bytes]
    log: Path

    def requests(self, method: str = "GET", part: str = "/blobs/sha256:") -> list[str]:
        """The paths that were asked for with `method` and hold `part`, in order: those of blobs that were fetched."""
        found = re.findall(rf'"{method} (\S+) HTTP', self.log.read_text(errors="replace"))
        return [path for path in found if part in path]


def program() -> Path:
    """The registry's binary."""

    def build(path: Path) -> None:
        path.mkdir()
        run("apt-get", "download", "-qq", "docker-registry", cwd=path)
        (package,) = path.glob("*.deb")
        run("dpkg", "-x", str(package), str(path))

    return cached("docker-registry", "bookworm", build) / "usr/bin/docker-registry"


@contextlib.contextmanager
def real_registry(
    folder: Path,
    *,
    htpasswd: str = "",
    certificate: Path | None = None,
    clients: Path | None = None,
    address: str = "127.0.0.1",
    netns: Path | None = None,
) -> Iterator[RealRegistry]:
    """A registry that keeps its content below `folder`.

    `certificate` is a folder with `crt` and `key`, `clients` the authority whose clients alone are served. With `netns`
    it is on the loopback of that network namespace: engines that have one of their own find it there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind((address, 0))
        host = f"{address}:{probe.getsockname()[1]}"
    auth = ""
    if htpasswd:
        (folder / "htpasswd").write_text(htpasswd)
        auth = f"auth: {{htpasswd: {{realm: lab, path: {folder / 'htpasswd'}}}}}"
    tls = ""
    if certificate is not None:
        only = f", clientcas: [{clients}]" if clients is not None else ""
        tls = f", tls: {{certificate: {certificate / 'crt'}, key: {certificate / 'key'}{only}}}"
    config = folder / "config.yml"
    config.write_text(_CONFIG.format(root=folder / "data", host=host, auth=auth, tls=tls))
    environment = {key: value for key, value in os.environ.items() if not key.startswith("REGISTRY")}
    inside = ["nsenter", f"--net={netns}"] if netns else []
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*inside, program(), "serve", config], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
        )
    try:
        _wait(host, process, folder / "log", inside)
        yield RealRegistry(host, process, folder / "log")
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def outside_address() -> Iterator[str]:
    """An address of this machine that is not loopback's, for documentation only: there certificates are checked."""
    address = f"198.51.100.{random.randrange(1, 255)}"
    run("ip", "address", "add", f"{address}/32", "dev", "lo")
    try:
        yield address
    finally:
        run("ip", "address", "delete", f"{address}/32", "dev", "lo")


def make_certificate(folder: Path, address: str) -> Path:
    """A certificate for `address` that is its own authority, as `crt` and `key` in `folder`."""
    folder.mkdir()
    run(
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
        "-subj", f"/CN={address}", "-addext", f"subjectAltName=IP:{address}",
        "-keyout", str(folder / "key"), "-out", str(folder / "crt"),
    )  # fmt: skip
    return folder


def _wait(host: str, process: subprocess.Popen[bytes], log: Path, inside: list[str]) -> None:
    address, _, port = host.rpartition(":")
    connect = f"import socket; socket.create_connection(({address!r}, {port}), timeout=1)"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        argv = [*inside, sys.executable, "-I", "-S", "-c", connect]
        if subprocess.run(argv, capture_output=True, check=False).returncode == 0:
            return
        time.sleep(0.02)
    raise RuntimeError(f"the registry does not start:\n{log.read_text()}")
