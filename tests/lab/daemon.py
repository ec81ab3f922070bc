"""A Corten daemon of the tests' own: its roots, socket, cgroup parent, bridge and nft table, and the proof that all are
gone afterwards."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
_SOURCE = REPOSITORY / "src"
# A guest is emulated: on a busy machine Python alone takes half a minute there.
_START_S = 180 if os.environ.get("CORTEN_GUEST") else 30


def docker_cli() -> str:
    """The real docker client: of the machine, or of the peers' folder."""
    found = shutil.which("docker")
    if found:
        return found
    from tests.lab import peers

    return str(peers.folder() / "usr/bin/docker")


class Daemon:
    """One daemon. `docker(...)` and `corten(...)` run the clients against it and return what they printed."""

    def __init__(self, *flags: str, root: Path | None = None) -> None:
        self.root = root or Path(tempfile.mkdtemp(prefix="corten-test-", dir="/var/tmp"))
        self.data_root = self.root / "data"
        self.exec_root = self.root / "run"
        self.socket = self.exec_root / "corten.sock"
        self.host = f"unix://{self.socket}"
        self.flags = flags
        self.cli = ""  # the docker command; empty: that of the machine, or of the peers' folder
        self.wrapper: tuple[str, ...] = ()  # a command that becomes the daemon, such as prlimit(1)
        self.log = self.root / "daemon.log"
        # builds fetch from the tests' own servers on loopback, which they may not by default
        sources = {"allow": ["127.0.0.0/8", "::1/128"]}
        (self.root / "daemon.json").write_text(json.dumps({"builder": {"sources": sources}}))
        self._process: subprocess.Popen[bytes] | None = None
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.root),
            "TMPDIR": str(self.root),  # docker's client leaves the Dockerfiles there that it reads from standard input
            "DOCKER_CONFIG": str(self.root / "docker-config"),
            "TERM": "xterm",
            "LC_ALL": "C.UTF-8",
            **{k: v for k, v in os.environ.items() if k.startswith("SSL_CERT")},
        }

    @property
    def pid(self) -> int:
        """The daemon's process id."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> Daemon:
        """Start it and wait until it answers."""
        argv = [
            *self.wrapper,
            sys.executable,
            "-I",
            "-c",
            f"import sys; sys.path.insert(0, {str(_SOURCE)!r}); from corten.daemon.main import main; sys.exit(main())",
            "--data-root",
            str(self.data_root),
            "--exec-root",
            str(self.exec_root),
            "-H",
            self.host,
            "--pidfile",
            str(self.root / "pid"),
            "--config-file",
            str(self.root / "daemon.json"),
            *self.flags,
        ]
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(
                argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=self.environment
            )
        deadline = time.monotonic() + _START_S
        while not self.answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"daemon did not start:\n{self.log_text()}")
            time.sleep(0.02)
        return self

    def answers(self) -> bool:
        """Whether `_ping` works."""
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(5)
            sock.connect(str(self.socket))
            sock.sendall(b"GET /_ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            return sock.recv(13).endswith(b"200 ")
        return False

    def log_text(self) -> str:
        """The end of the daemon's log."""
        return self.log.read_text(errors="replace")[-6000:] if self.log.exists() else ""

    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def lives_on(self, seconds: float = 2) -> bool:
        """Whether the process still lives some time later; one that is being killed does not."""
        assert self._process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return self.is_running()

    def kill(self) -> None:
        """kill -9."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """SIGTERM and wait; containers live on."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()

    def _client(self, argv: list[str], *, check: bool, **options: Any) -> subprocess.CompletedProcess[str]:
        options.setdefault("timeout", 120)
        if "input" not in options:
            options.setdefault("stdin", subprocess.DEVNULL)
        result = subprocess.run(argv, capture_output=True, text=True, env=self.environment, check=False, **options)
        if check and result.returncode != 0:
            raise AssertionError(
                f"{' '.join(argv)} exited {result.returncode}\nstdout: {result.stdout}\nstderr: {result.stderr}\n"
                f"daemon log:\n{self.log_text()}"
            )
        return result

    def docker(self, *arguments: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        """The real docker CLI."""
        return self._client([self.cli or docker_cli(), "-H", self.host, *arguments], check=check, **options)

    def corten(self, *arguments: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        """Corten's own CLI."""
        return self._client(
            [sys.executable, "-I", "-S", str(_SOURCE / "corten/__main__.py"), "-H", self.host, *arguments],
            check=check,
            **options,
        )

    def out(self, *arguments: str, **options: Any) -> str:
        """What docker printed, stripped."""
        return self.docker(*arguments, **options).stdout.strip()

    def inspect(self, name: str) -> dict[str, Any]:
        """`docker inspect` of one object."""
        result: list[dict[str, Any]] = json.loads(self.out("inspect", name))
        return result[0]

    def clean(self) -> list[str]:
        """Remove every container, stop, and delete the roots; returns what was left behind, which must be nothing."""
        if not self.answers():
            self.start()
        names = self.out("ps", "-aq").split()
        if names:
            self.docker("rm", "-f", "-v", *names)
        self.stop()
        left = leftovers_of(self)
        self._remove_network()
        shutil.rmtree(self.root, ignore_errors=True)
        for parent in self._cgroup_parents():  # of a daemon that a test has killed and that did not come back
            for group, _, _ in os.walk(parent, topdown=False):
                os.rmdir(group)
        return left

    @property
    def instance(self) -> str:
        """What the names of this daemon's cgroups, links and rules end in."""
        return hashlib.sha256(os.fsencode(self.exec_root)).hexdigest()[:6]

    def _cgroup_parents(self) -> list[Path]:
        cgroups = Path("/sys/fs/cgroup")
        return [*cgroups.glob(f"corten-{self.instance}"), *cgroups.glob(f"*/corten-{self.instance}")]

    def cgroups(self) -> list[str]:
        """The containers' cgroups that exist below this daemon's."""
        return [str(child) for parent in self._cgroup_parents() for child in parent.iterdir() if child.is_dir()]

    def ports(self) -> list[str]:
        """The host's ends of containers' links: what is plugged into this daemon's default bridge."""
        bridge = Path(f"/sys/class/net/ct{self.instance}/brif")
        return [port.name for port in bridge.iterdir()] if bridge.exists() else []

    def _remove_network(self) -> None:
        """The default bridge and the packet filter's table stay when a daemon ends; a test's own must not."""
        from corten.network.egress_firewall import EgressFirewall
        from corten.network.firewall import Firewall

        if Path(f"/sys/class/net/ct{self.instance}").exists():
            subprocess.run(["ip", "link", "delete", f"ct{self.instance}"], check=True)
        for kind in (Firewall, EgressFirewall):
            firewall = kind(f"corten-{self.instance}")
            firewall.uninstall()
            firewall.close()


@contextlib.contextmanager
def running_daemon(*flags: str, engine: Daemon | None = None) -> Iterator[Daemon]:
    """A daemon (`engine`, or one with these flags) that runs during the block, and leaves nothing."""
    one = (engine or Daemon(*flags)).start()
    try:
        yield one
    finally:
        one.environment.pop("CORTEN_FAULT", None)
        left = one.clean()
    assert left == []


def leftovers_of(daemon: Daemon) -> list[str]:
    """What exists on the machine under this daemon's names: mounts, cgroups, shims, links."""
    mounts = Path("/proc/mounts").read_text().splitlines()
    left = [f"mount {line.split()[1]}" for line in mounts if str(daemon.root) in line]
    shims = daemon.exec_root / "shim"
    if shims.is_dir():
        left += [f"shim {entry.name}" for entry in shims.iterdir()]
    left += [f"cgroup {path}" for path in daemon.cgroups()]
    left += [f"link {name}" for name in daemon.ports()]
    return left
