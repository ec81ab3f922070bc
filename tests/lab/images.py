"""Root file systems from Debian's packages, as docker-archive files that `load` takes: stand-ins for images of a hub.

busybox:latest (busybox-static), debian:latest (minbase), nginx:latest, python:3.11 (python3 with pip), redis:latest,
load:latest (wrk and iperf3).
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import time
from pathlib import Path

from tests.lab.cache import cached, ensure_tools, run

_SUITE = "bookworm"
_CA = "/etc/ssl/certs/ca-certificates.crt"
_CA_HOOK = f'mkdir -p "$1/usr/local/share"; if [ -e {_CA} ]; then cp {_CA} "$1/usr/local/share/host-ca.crt"; fi'


def _add(
    tar: tarfile.TarFile,
    name: str,
    data: bytes = b"",
    *,
    mode: int = 0o644,
    kind: bytes = tarfile.REGTYPE,
    link: str = "",
) -> None:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.linkname, info.size = kind, mode, link, len(data)
    info.mtime = 1_700_000_000
    tar.addfile(info, io.BytesIO(data) if data else None)


def _foreign_busybox(architecture: str, folder: Path) -> bytes:
    """The program of Debian's package for another architecture, which is unpacked and never run."""
    ensure_tools(mmdebstrap="mmdebstrap")
    listed = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", f"Release: {_SUITE}"]
    mirror = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split()[0]
    tar = folder / f"busybox-{architecture}-{os.getpid()}.tar"
    try:
        run(
            "mmdebstrap",
            f"--architectures={architecture}",
            "--variant=extract",
            "--include=busybox-static",
            "--format=tar",
            _SUITE,
            str(tar),
            f"deb {mirror} {_SUITE} main",
        )
        with tarfile.open(tar) as packed:
            file = packed.extractfile("./bin/busybox")
            assert file is not None
            return file.read()
    finally:
        tar.unlink(missing_ok=True)


def busybox_rootfs(architecture: str = "") -> Path:
    """A tar of busybox and its applets, a few files of /etc, and /tmp; for this machine or another of Debian's
    architectures."""

    def build(path: Path) -> None:
        ensure_tools(busybox="busybox-static")
        binary = shutil.which("busybox")
        assert binary is not None
        applets = subprocess.run([binary, "--list"], capture_output=True, text=True, check=True).stdout.split()
        program = _foreign_busybox(architecture, path.parent) if architecture else Path(binary).read_bytes()
        with tarfile.open(path, "w") as tar:
            for name, mode in (
                ("bin", 0o755),
                ("etc", 0o755),
                ("tmp", 0o1777),
                ("root", 0o700),
                ("var", 0o755),
                ("var/www", 0o755),
                ("home", 0o755),
                ("dev", 0o755),
                ("proc", 0o755),
                ("sys", 0o755),
            ):
                _add(tar, name, kind=tarfile.DIRTYPE, mode=mode)
            _add(tar, "bin/busybox", program, mode=0o755)
            for applet in applets:
                if applet != "busybox":
                    _add(tar, f"bin/{applet}", kind=tarfile.SYMTYPE, link="busybox", mode=0o777)
            _add(
                tar,
                "etc/passwd",
                b"root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33:www-data:/var/www:/bin/false\nnobody:x:65534:65534:nobody:/home:/bin/false\n",
            )
            _add(tar, "etc/group", b"root:x:0:\ndaemon:x:1:www-data\nwww-data:x:33:\nnogroup:x:65534:\n")

    name = f"busybox-rootfs-{architecture}" if architecture else "busybox-rootfs"
    return cached(name, "busybox-static 3", build)


def debian_rootfs(*packages: str) -> Path:
    """A tar of a Debian minbase system with `packages`, apt ready to use, the host's CA bundle inside."""

    def build(path: Path) -> None:
        ensure_tools(mmdebstrap="mmdebstrap")
        include = ["--include=" + ",".join(packages)] if packages else []
        run(
            "mmdebstrap",
            "--variant=minbase",
            "--mode=root",
            "--format=tar",
            *include,
            f"--customize-hook={_CA_HOOK}",
            _SUITE,
            str(path),
        )

    return cached("debian-" + "-".join(sorted(packages) or ["minbase"]), f"{_SUITE} {sorted(packages)} 2", build)


def archive(rootfs: Path, reference: str, **config: object) -> Path:
    """`rootfs` as a docker-archive (`docker load`) named `reference`; `config` is the OCI image config's `config`."""
    recipe = json.dumps([rootfs.name, reference, config], sort_keys=True)

    def build(path: Path) -> None:
        digest = hashlib.sha256()
        with open(rootfs, "rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
        layer = digest.hexdigest()
        machine = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
        document = {
            "architecture": machine,
            "os": "linux",
            "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(1_700_000_000)),
            "config": {
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                "Cmd": ["sh"],
                **config,
            },
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer}"]},
            "history": [{"created": "2023-11-14T22:13:20Z", "created_by": "lab"}],
        }
        config_bytes = json.dumps(document).encode()
        config_name = hashlib.sha256(config_bytes).hexdigest() + ".json"
        manifest = [{"Config": config_name, "RepoTags": [reference], "Layers": [f"{layer}/layer.tar"]}]
        with tarfile.open(path, "w") as tar:
            tar.add(rootfs, f"{layer}/layer.tar")
            _add(tar, config_name, config_bytes)
            _add(tar, "manifest.json", json.dumps(manifest).encode())

    name = reference.replace("/", "_").replace(":", "_")
    return cached(f"image-{name}", recipe, build)


@functools.cache
def busybox() -> Path:
    """busybox:latest"""
    return archive(busybox_rootfs(), "busybox:latest")


@functools.cache
def debian() -> Path:
    """debian:latest"""
    return archive(debian_rootfs(), "debian:latest", Cmd=["bash"])


@functools.cache
def nginx() -> Path:
    """nginx:latest"""
    return archive(
        debian_rootfs("nginx-light"),
        "nginx:latest",
        Cmd=["nginx", "-g", "daemon off;"],
        ExposedPorts={"80/tcp": {}},
        StopSignal="SIGQUIT",
    )


@functools.cache
def python() -> Path:
    """python:3.11, a stand-in for the hub's: Debian's Python with pip."""
    return archive(
        debian_rootfs("python3", "python3-pip", "ca-certificates"),
        "python:3.11",
        Cmd=["python3"],
        Env=[
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "PIP_BREAK_SYSTEM_PACKAGES=1",
            "PIP_CERT=/usr/local/share/host-ca.crt",
            "SSL_CERT_FILE=/usr/local/share/host-ca.crt",
        ],
    )


@functools.cache
def redis() -> Path:
    """redis:latest, which any address may ask and which keeps nothing."""
    return archive(
        debian_rootfs("redis-server"),
        "redis:latest",
        Cmd=["redis-server", "--protected-mode", "no", "--save", "", "--dir", "/tmp"],
        ExposedPorts={"6379/tcp": {}},
    )


@functools.cache
def load() -> Path:
    """load:latest, with programs that make load: wrk and iperf3."""
    return archive(debian_rootfs("iperf3", "wrk"), "load:latest")
