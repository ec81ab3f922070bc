"""Other engines to compare with and to exchange images with: Docker 26, Podman 5, crun, skopeo of Debian trixie.

Unpacked into a folder, never installed. `enter(argv)` runs a program of that folder: in a private mount namespace the
folder becomes the root, with the host's /dev, /proc and /sys; and in a network namespace of its own, so that their
bridges and firewall rules end with them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from tests.lab.cache import cached, ensure_tools, run

_PACKAGES = [
    "docker.io",
    "docker-cli",
    "docker-compose",
    "docker-buildx",
    "containerd",
    "runc",
    "podman",
    "crun",
    "skopeo",
    "iptables",
    "nftables",
    "ca-certificates",
    "iproute2",
    "procps",
    "netavark",
    "aardvark-dns",
    "fuse-overlayfs",
    "busybox-static",
]
_ENTER = """
set -e
mount --make-rprivate /
mount --bind "$1" "$1"
cd "$1"
for d in proc sys dev; do mount --rbind /$d $d; done
if mountpoint -q sys/fs/cgroup/unified; then umount -l sys/fs/cgroup/unified; fi
mkdir -p lab-data lab-shared var/lib/docker var/lib/containers run
mount --bind "$2" lab-shared
mkdir -p lab-shared/docker lab-shared/containers
mount --bind lab-shared/docker var/lib/docker
mount --bind lab-shared/containers var/lib/containers
mount -t tmpfs tmpfs run
cp /etc/resolv.conf etc/resolv.conf 2>/dev/null || true
mkdir -p mnt
pivot_root . mnt
umount -l /mnt
shift 2
ip link set lo up
exec "$@"
"""


def folder() -> Path:
    """The unpacked root with all peers."""

    def build(path: Path) -> None:
        ensure_tools(mmdebstrap="mmdebstrap")
        run(
            "mmdebstrap",
            "--variant=apt",
            "--mode=root",
            "--format=directory",
            "--include=" + ",".join(_PACKAGES),
            "trixie",
            str(path),
        )

    return cached("peers", " ".join(_PACKAGES) + " trixie", build)


def command(argv: list[str], *, shared: Path) -> list[str]:
    """The argv that runs `argv` in the peers' folder; `shared` is their /lab-shared and holds their data roots."""
    shared.mkdir(parents=True, exist_ok=True)
    return ["unshare", "--mount", "--net", "--", "sh", "-c", _ENTER, "enter", str(folder()), str(shared), *argv]


class Dockerd:
    """A Docker 26 daemon of the peers' folder with its own data root, on a socket in `shared`."""

    def __init__(self, shared: Path) -> None:
        self.shared = shared
        self.host = f"unix://{shared}/docker.sock"
        shared.mkdir(parents=True, exist_ok=True)
        self._log = open(shared / "dockerd.log", "wb")
        argv = [
            "dockerd",
            "-H",
            "unix:///lab-shared/docker.sock",
            "--pidfile",
            "/run/lab-dockerd.pid",
            "--exec-root",
            "/run/docker-lab",
            "--cgroup-parent",
            "/lab-docker",
        ]
        self._process = subprocess.Popen(
            command(argv, shared=shared), stdout=self._log, stderr=subprocess.STDOUT, start_new_session=True
        )

    @property
    def netns(self) -> Path:
        """Its network namespace."""
        return Path(f"/proc/{self._process.pid}/ns/net")

    def inside(self, *arguments: str) -> list[str]:
        """The command that runs `arguments` where the daemon runs: in its folder, mounts and network."""
        return entering(self._process.pid, arguments)

    def wait(self, seconds: float = 60) -> None:
        """Until it answers."""
        deadline = time.monotonic() + seconds
        while subprocess.run(["docker", "-H", self.host, "version"], capture_output=True, check=False).returncode != 0:
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise RuntimeError((self.shared / "dockerd.log").read_text(errors="replace")[-4000:])
            time.sleep(0.2)

    def stop(self) -> None:
        """End it and what it started."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()
        _remove_cgroups("lab-docker")


class Inside:
    """A process that holds the peers' folder open; `argv(...)` enters it by nsenter (some 2 ms)."""

    def __init__(self, shared: Path) -> None:
        self.shared = shared
        self._holder = subprocess.Popen(
            command(["sh", "-c", "echo ready; exec sleep 100000"], shared=shared),
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != b"ready\n":
            raise RuntimeError("the peers' folder could not be entered")

    @property
    def netns(self) -> Path:
        """Its network namespace."""
        return Path(f"/proc/{self._holder.pid}/ns/net")

    def argv(self, *arguments: str) -> list[str]:
        """The command that runs `arguments` inside."""
        return entering(self._holder.pid, arguments)

    def stop(self) -> None:
        """End the holder; what it mounted goes with its namespace."""
        self._holder.kill()
        self._holder.wait()
        for name in ("libpod_parent", "lab-podman", "lab-crun"):
            _remove_cgroups(name)


def entering(pid: int, arguments: Sequence[str]) -> list[str]:
    """The command that runs `arguments` in the mount and network namespaces of a process of the peers' folder."""
    return [
        "nsenter",
        f"--mount=/proc/{pid}/ns/mnt",
        f"--net=/proc/{pid}/ns/net",
        "--wdns=/",
        f"--root=/proc/{pid}/root",
        *arguments,
    ]


def _remove_cgroups(name: str) -> None:
    for controller in Path("/sys/fs/cgroup").iterdir():
        base = controller / name
        if base.is_dir():
            for directory, _names, _files in os.walk(base, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(directory)
