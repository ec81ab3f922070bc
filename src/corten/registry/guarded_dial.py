"""Connecting by TCP to where a policy allows it, and nowhere else. Blocking; net threads.

The address that was judged is the one that is connected to: a name is resolved once, here.
"""

from __future__ import annotations

import socket
from time import monotonic
from urllib.parse import urlsplit

from corten.registry.inward import InwardPolicy, InwardRefused, embedded

_LEAST_S = 2.0  # what an address gets while there is time, as in Go's net.Dialer


def dial(policy: InwardPolicy, host: str, port: int, timeout_s: float | None) -> socket.socket:
    """A connection to the first address of `host` that is allowed and answers; `timeout_s` is for all of them, for a
    name may have as many as its owner likes.

    Raises InwardRefused when one is refused and none answers, socket.gaierror, OSError.
    """
    failure: OSError | InwardRefused | None = None
    addresses = socket.getaddrinfo(host.strip("[]"), port, 0, socket.SOCK_STREAM)
    end = None if timeout_s is None else monotonic() + timeout_s
    for number, (family, kind, protocol, _name, address) in enumerate(addresses):
        try:
            policy.check(str(address[0]), port, is_own=is_own(family, address))
            share_s = None if end is None else _share(end - monotonic(), len(addresses) - number)
            sock = _connect(family, kind, protocol, address, share_s)
        except InwardRefused as error:
            failure = error
        except OSError as error:
            failure = failure if isinstance(failure, InwardRefused) else error
        else:
            sock.settimeout(timeout_s)  # what follows (TLS) has a peer that answers
            return sock
    if failure is None:
        raise socket.gaierror(socket.EAI_NONAME, "no address")
    raise failure


def _share(left_s: float, count: int) -> float:
    """How long one of `count` addresses is waited for. Raises TimeoutError when no time is left."""
    if left_s <= 0:
        raise TimeoutError("timed out")
    return max(left_s / count, min(left_s, _LEAST_S))


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
