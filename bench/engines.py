"""The engines a benchmark compares, each with the commands that do the same work. Started and stopped by the benchmark;
an engine that is not there is left out by name, never silently."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[1] / "src")]

from tests.lab import images, peers
from tests.lab.daemon import REPOSITORY, Daemon, docker_cli


class Engine:
    """A name, and `argv(...)` in docker's words."""

    name = ""
    netns: Path | None = None  # where its loopback is, if not the host's
    plain_http: tuple[str, ...] = ()  # flags of pull and push for a registry without TLS on loopback

    def argv(self, *arguments: str) -> list[str]:
        """The command of this engine's client."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Load busybox."""
        self.run("load", "-i", str(images.busybox()))

    def run(self, *arguments: str) -> str:
        """Run the client; raises with its output when it fails."""
        result = subprocess.run(
            self.argv(*arguments), capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )
        if result.returncode != 0:
            raise RuntimeError(f"{self.name}: {arguments}: {result.stderr}")
        return result.stdout.strip()

    def folder(self, scratch: Path) -> tuple[Path, str]:
        """A folder for files to exchange, `scratch` if the engine sees it, and the engine's name for it."""
        return scratch, str(scratch)

    def stop(self) -> None:
        """End the engine and leave nothing."""


# In a network namespace of its own, as the peers are: on the host packets pass the rules of every engine that is there.
_IN_OWN_NETWORK = ("unshare", "--net", "--", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")


class CortenByDocker(Engine):
    """The docker CLI against Corten's socket."""

    name = "corten (docker CLI)"

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.netns = Path(f"/proc/{daemon.pid}/ns/net")

    def argv(self, *arguments: str) -> list[str]:
        return [docker_cli(), "-H", self.daemon.host, *arguments]

    def stop(self) -> None:
        left = self.daemon.clean()
        if left:
            raise RuntimeError(f"left behind: {left}")


class CortenByCorten(Engine):
    """Corten's own CLI, through bin/corten as a user types it."""

    name = "corten"

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.netns = Path(f"/proc/{daemon.pid}/ns/net")

    def argv(self, *arguments: str) -> list[str]:
        return [str(REPOSITORY / "bin/corten"), "-H", self.daemon.host, *arguments]

    def prepare(self) -> None:
        """The daemon is shared with CortenByDocker."""


class Docker(Engine):
    """Docker 26 of Debian trixie."""

    name = "docker 26"

    def __init__(self, shared: Path) -> None:
        self.dockerd = peers.Dockerd(shared)
        self.dockerd.wait()
        self.netns = self.dockerd.netns

    def argv(self, *arguments: str) -> list[str]:
        return [docker_cli(), "-H", self.dockerd.host, *arguments]

    def stop(self) -> None:
        self.dockerd.stop()


class Podman(Engine):
    """Podman 5 with crun of Debian trixie."""

    name = "podman 5"
    plain_http = ("--tls-verify=false",)

    def __init__(self, shared: Path) -> None:
        self.inside = peers.Inside(shared)
        self.netns = self.inside.netns

    def argv(self, *arguments: str) -> list[str]:
        return self.inside.argv("podman", "--cgroup-manager=cgroupfs", *arguments)

    def prepare(self) -> None:
        copy = self.inside.shared / "busybox.tar"
        copy.write_bytes(images.busybox().read_bytes())
        self.run("load", "-i", "/lab-shared/busybox.tar")

    def folder(self, scratch: Path) -> tuple[Path, str]:  # noqa: ARG002 - its own
        """Its client sees one folder of the host only."""
        return self.inside.shared, "/lab-shared"

    def stop(self) -> None:
        with contextlib.suppress(RuntimeError):
            self.run("rm", "-fa")
        self.inside.stop()


@contextlib.contextmanager
def engines(*wanted: str) -> Iterator[list[Engine]]:
    """Corten twice (two clients), Docker, Podman, with busybox loaded. `wanted` names limit them."""
    with tempfile.TemporaryDirectory(prefix="corten-bench-", dir="/var/tmp") as root, contextlib.ExitStack() as stack:
        found: list[Engine] = []

        def add(engine: Engine) -> None:
            stack.callback(engine.stop)
            engine.prepare()
            found.append(engine)

        daemon = Daemon()
        daemon.wrapper = _IN_OWN_NETWORK
        daemon.start()
        add(CortenByDocker(daemon))
        add(CortenByCorten(daemon))
        for kind in (Docker, Podman):
            if wanted and kind.__name__.lower() not in wanted:
                continue
            try:
                add(kind(Path(root) / kind.__name__.lower()))
            except (OSError, RuntimeError) as error:
                print(f"left out {kind.name}: {error}", file=sys.stderr)
        yield found
