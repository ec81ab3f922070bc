"""Opening a byte stream to an engine. Unix sockets through `_socket`, since `socket` itself costs 10 ms to import."""

from __future__ import annotations

import _socket

from corten.client.errors import EngineUnreachable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from corten.client.address import Address, TlsFiles

_CONNECT_TIMEOUT_S = 30.0


def dial(address: Address) -> _socket.socket:
    """Connect; raises EngineUnreachable."""
    try:
        if address.kind == "unix":
            sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
            try:
                sock.connect(address.path)
            except BaseException:
                sock.close()
                raise
            return sock
        if address.kind == "ssh":
            return _dial_ssh(address.name)
        return _dial_tcp(address)
    except PermissionError as error:
        raise EngineUnreachable(
            f"permission denied while trying to connect to the engine's socket at {address.host}",
            hint="run as root, or join the group that owns the socket",
        ) from error
    except OSError as error:
        raise EngineUnreachable(
            f"Cannot connect to the Corten daemon at {address.host}. Is the corten daemon running?"
        ) from error


def _dial_tcp(address: Address) -> _socket.socket:
    import socket

    sock = socket.create_connection((address.name, address.port), timeout=_CONNECT_TIMEOUT_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if address.tls is not None:
        return _wrap_tls(sock, address.name, address.tls)
    sock.settimeout(None)
    return sock


def _wrap_tls(sock: _socket.socket, name: str, files: TlsFiles) -> _socket.socket:
    import os
    import ssl

    context = ssl.create_default_context(cafile=files.ca if os.path.exists(files.ca) else None)
    if not files.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if os.path.exists(files.cert) and os.path.exists(files.key):
        context.load_cert_chain(files.cert, files.key)
    wrapped = context.wrap_socket(sock, server_hostname=name)  # type: ignore[arg-type]  # it is a socket.socket
    wrapped.settimeout(None)
    return wrapped


def _dial_ssh(destination: str) -> _socket.socket:
    """The far side's `corten system dial-stdio` through ssh(1), as Docker's client does with its own."""
    import socket
    import subprocess

    name, _, path = destination.partition("/")
    user_host, _, port = name.partition(":")
    argv = ["ssh", *(["-p", port] if port else []), "--", user_host, "corten"]
    argv += ["--host", f"unix:///{path}"] if path else []
    ours, theirs = socket.socketpair()
    with theirs:
        subprocess.Popen([*argv, "system", "dial-stdio"], stdin=theirs.fileno(), stdout=theirs.fileno())
    return ours
