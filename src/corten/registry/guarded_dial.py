"""Connecting by TCP to where a policy allows it, and nowhere else. Blocking; net threads.

The address that was judged is the one that is connected to: a name is resolved once, here.
"""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from corten.registry.inward import InwardPolicy, InwardRefused, embedded


def dial(policy: InwardPolicy, host: str, port: int, timeout_s: float | None) -> socket.socket:
    """A connection to the first address of `host` that is allowed and answers; `timeout_s` is for each.

    Raises InwardRefused when one is refused and none answers, socket.gaierror, OSError.
    """
    failure: OSError | InwardRefused | None = None
    for family, kind, protocol, _name, address in socket.getaddrinfo(host.strip("[]"), port, 0, socket.SOCK_STREAM):
        try:
            policy.check(str(address[0]), port, is_own=is_own(family, address))
            return _connect(family, kind, protocol, address, timeout_s)
        except InwardRefused as error:
            failure = error
        except OSError as error:
            failure = failure if isinstance(failure, InwardRefused) else error
    if failure is None:
        raise socket.gaierror(socket.EAI_NONAME, "no address")
    raise failure


def check_literal(policy: InwardPolicy, netloc: str) -> None:
    """Raise InwardRefused for a host that is written as an address and refused: a proxy would connect to it. Names are
    resolved by the proxy, which its administrator has made for that."""
    try:
        parts = urlsplit(f"//{netloc}")
        host, port = parts.hostname or "", parts.port or 0
        embedded(host)
    except ValueError:
        return
    policy.check(host, port, is_own=False)


def _connect(
    family: int, kind: int, protocol: int, address: tuple[str | int | bytes, ...], timeout_s: float | None
) -> socket.socket:
    sock = socket.socket(family, kind, protocol)
    try:
        sock.settimeout(timeout_s)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock


def is_own(family: int, address: tuple[str | int | bytes, ...]) -> bool:
    """Whether an address is one of this host's: the kernel would send from it to itself."""
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(address)  # of a datagram socket: nothing is sent
            return bool(sock.getsockname()[0] == sock.getpeername()[0])
        except OSError:
            return False
