"""The daemon's listening sockets from `-H`: unix paths, TCP, and those that the service manager passes. Daemon only.

A unix socket is made with no permissions and opened to its group last, so that nobody slips in between. TCP without
verified TLS gives root to everyone who reaches it: it is refused except on loopback.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import grp
import ipaddress
import logging
import os
import socket
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from corten.daemon.config import Config
from corten.daemon.options import ConfigError

if TYPE_CHECKING:
    import ssl  # 3 MB that most daemons never need

_LOG = logging.getLogger("corten.daemon")
_UNIX_PATH_MAX = 107  # sun_path of unix(7), without its end
_LISTEN_FDS_START = 3  # sd_listen_fds(3)


@dataclass(slots=True)
class Listener:
    """A bound socket; `path` is what to unlink at the end ("" when it is not ours)."""

    host: str
    sock: socket.socket
    tls: bool = False
    path: str = ""

    def withdraw(self) -> None:
        """Take the path away, so that nobody new comes; the socket goes on until it is closed."""
        if self.path:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path)
            self.path = ""

    def close(self) -> None:
        """Withdraw and close."""
        self.withdraw()
        self.sock.close()


def open_listeners(config: Config) -> list[Listener]:
    """All of `-H`. Raises ConfigError, OSError; then none stays open."""
    opened: list[Listener] = []
    try:
        for host in config.hosts:
            opened.extend(_open(host, config))
    except BaseException:
        for listener in opened:
            listener.close()
        raise
    return opened


def _open(host: str, config: Config) -> list[Listener]:
    scheme, separator, rest = host.partition("://")
    if not separator:
        scheme, rest = ("unix", host) if host.startswith("/") else ("tcp", host)
    if scheme == "unix":
        path = rest or str(config.exec_root / "corten.sock")
        return [Listener(host, unix_listener(path, config.text("group"), explicit="group" in config.given), path=path)]
    if scheme == "tcp":
        return [Listener(host, tcp_listener(rest, config), tls=uses_tls(config))]
    if scheme == "fd":
        return activated(host, config)
    raise ConfigError(f"invalid bind address format: {host}")


def unix_listener(path: str, group: str, *, explicit: bool) -> socket.socket:
    """A listening socket at `path`, mode 0660, of `group`; a dead socket there is replaced, a living one refused.

    An unknown group is an error only when somebody asked for it (dockerd's rule).
    """
    if len(os.fsencode(path)) > _UNIX_PATH_MAX:
        raise ConfigError(
            f"unix socket path too long ({len(os.fsencode(path))} bytes, at most {_UNIX_PATH_MAX}): {path}"
        )
    os.makedirs(os.path.dirname(path) or ".", mode=0o711, exist_ok=True)
    _clear(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        old = os.umask(0o777)
        try:
            sock.bind(path)
        finally:
            os.umask(old)
        os.chown(path, 0 if os.geteuid() == 0 else -1, _gid(group, explicit=explicit), follow_symlinks=False)
        os.chmod(path, 0o660)
    except BaseException:
        sock.close()
        raise
    return sock


def _clear(path: str) -> None:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ConfigError(f"{path} exists and is no socket; remove it, or give another -H")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(2)
        try:
            probe.connect(path)
        except OSError as error:
            if error.errno in {errno.ECONNREFUSED, errno.ENOENT}:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
                return
    raise ConfigError(f"another daemon listens on {path}; stop it, or give another -H")


def _gid(group: str, *, explicit: bool) -> int:
    if not group:
        return -1
    if group.isdigit():
        return int(group)
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        if explicit:
            raise ConfigError(f"could not find group {group}: group {group} not found") from None
        _LOG.debug("group %s does not exist: the socket is root's alone", group)
        return 0 if os.geteuid() == 0 else -1


def uses_tls(config: Config) -> bool:
    """Whether TCP is served with TLS; any TLS option switches it on, as in dockerd."""
    return config.flag("tls") or config.flag("tlsverify") or "tlsverify" in config.given


def tcp_listener(address: str, config: Config) -> socket.socket:
    """A listening TCP socket. Raises ConfigError for an open one without verified TLS."""
    url = urlsplit(f"//{address}")
    try:
        host, port = url.hostname or "localhost", url.port or (2376 if uses_tls(config) else 2375)
    except ValueError:
        raise ConfigError(f"invalid bind address format: {address}") from None
    if url.path.strip("/"):
        raise ConfigError(f"invalid bind address format: {address}")
    infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, proto, _name, target = infos[0]
    if not config.flag("tlsverify") and not ipaddress.ip_address(target[0]).is_loopback:
        raise ConfigError(
            f"refusing to listen on tcp://{address} without --tlsverify: whoever reaches it would be root on this host",
            hint="use a unix socket, ssh, a loopback address, or --tlsverify with certificates",
        )
    sock = socket.socket(family, kind | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, proto)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(target)
    except BaseException:
        sock.close()
        raise
    _end_with_dead_peers(sock)
    return sock


def _end_with_dead_peers(sock: socket.socket) -> None:
    """End connections whose client is gone without a word (tcp(7)), as Go does: builds and attached streams wait for
    clients as long as it takes. Accepted connections have this from their listener."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in ((socket.TCP_KEEPIDLE, 15), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 9)):
        sock.setsockopt(socket.IPPROTO_TCP, option, value)


def activated(host: str, config: Config) -> list[Listener]:
    """Sockets passed by the service manager (`fd://`, sd_listen_fds(3))."""
    count = int(os.environ.get("LISTEN_FDS", "0") or 0) if os.environ.get("LISTEN_PID") == str(os.getpid()) else 0
    if count <= 0:
        raise ConfigError(
            f"{host}: no sockets found via socket activation: make sure the service was started by systemd"
        )
    result = []
    for fd in range(_LISTEN_FDS_START, _LISTEN_FDS_START + count):
        fcntl.fcntl(fd, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
        sock = socket.socket(fileno=fd)
        sock.setblocking(False)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            _end_with_dead_peers(sock)
        result.append(Listener(host, sock, tls=sock.family != socket.AF_UNIX and uses_tls(config)))
    return result


def tls_context(config: Config) -> ssl.SSLContext:
    """The server's TLS: its certificate, and with --tlsverify only clients that the CA signed. Raises ConfigError."""
    import ssl

    base = os.environ.get("DOCKER_CERT_PATH", os.path.expanduser("~/.docker"))
    certificate = config.text("tlscert") or f"{base}/cert.pem"
    key = config.text("tlskey") or f"{base}/key.pem"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
        if config.flag("tlsverify"):
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(config.text("tlscacert") or f"{base}/ca.pem")
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"could not load X509 key pair ({certificate}, {key}): {error}") from error
    return context
