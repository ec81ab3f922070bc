"""OpenSSH's server, Debian's, unpacked and not installed, on loopback; and its agent.

The server runs in a mount namespace of its own, where there are the users that it needs: nothing of the machine changes.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab.cache import cached, ensure_tools, run

_CONFIG = """
ListenAddress 127.0.0.1:{port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/authorized
PidFile none
StrictModes no
UsePAM no
PermitRootLogin yes
PasswordAuthentication no
AcceptEnv GIT_PROTOCOL
LogLevel VERBOSE
"""
_ENTER = """
set -e
mount --bind "$1/passwd" /etc/passwd
if [ -d "$2/usr/lib/openssh" ]; then mount --bind "$2/usr/lib/openssh" /usr/lib/openssh; fi
mount -t tmpfs tmpfs /run
mkdir -m 755 /run/sshd
export LD_LIBRARY_PATH=$(echo "$2"/usr/lib/*-linux-gnu*):$(echo "$2"/lib/*-linux-gnu*)
exec "$2/usr/sbin/sshd" -D -e -f "$1/config"
"""


def _program() -> Path:
    def build(path: Path) -> None:
        path.mkdir()
        run("apt-get", "download", "-qq", "openssh-server", "libwrap0", cwd=path)
        for package in path.glob("*.deb"):
            run("dpkg", "-x", str(package), str(path))
            package.unlink()

    return cached("openssh-server", "1", build)


def make_key(path: Path, *flags: str) -> Path:
    """A key pair without a passphrase."""
    ensure_tools(ssh_keygen="openssh-client")
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", path.name, "-f", str(path), *flags)
    return path


class SshServer:
    """A server that takes the user `git` with an authorized key; `home` is where relative paths begin."""

    def __init__(self, folder: Path, home: Path, authorized: Path) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self.log = folder / "log"
        self.host_key = make_key(folder / "host")
        (folder / "authorized").write_text(authorized.with_suffix(".pub").read_text())
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        (folder / "config").write_text(_CONFIG.format(port=self.port, folder=folder))
        users = [
            line for line in Path("/etc/passwd").read_text().splitlines() if not line.startswith(("sshd:", "git:"))
        ]
        users += ["sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin", f"git:x:0:0::{home}:/bin/sh"]
        (folder / "passwd").write_text("\n".join(users) + "\n")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def known(self) -> str:
        """The line of a known_hosts file."""
        kind, key, _comment = self.host_key.with_suffix(".pub").read_text().split()
        return f"[127.0.0.1]:{self.port} {kind} {key}\n"

    def logins(self) -> int:
        """How many there were so far."""
        return self.log.read_text(errors="replace").count("Accepted publickey")

    def url(self, path: object) -> str:
        """The address of a repository."""
        return f"ssh://git@127.0.0.1:{self.port}{path}"

    def __enter__(self) -> SshServer:
        argv = ["unshare", "-m", "sh", "-c", _ENTER, "sh", str(self._folder), str(_program())]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + 30
        while True:
            with socket.socket() as sock:
                if sock.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.__exit__()
                raise RuntimeError(f"sshd does not start:\n{self.log.read_text()}")
            time.sleep(0.02)

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait()


@contextmanager
def ssh_agent(folder: Path, *keys: Path) -> Iterator[Path]:
    """An agent with these keys; its socket."""
    ensure_tools(ssh_agent="openssh-client")
    path = folder / "agent"
    environment = {"PATH": os.environ["PATH"], "SSH_AUTH_SOCK": str(path)}
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while not path.exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        for key in keys:
            subprocess.run(["ssh-add", "-q", str(key)], env=environment, check=True, capture_output=True)
        yield path
    finally:
        process.terminate()
        process.wait()
        path.unlink(missing_ok=True)
