"""Makes sockets in a container's network namespace and sends them to the daemon. A child of the zygote, gone at once.

The daemon has threads and never calls setns; a socket belongs for ever to the namespace that it was made in, whoever
uses it. Only the network namespace is entered, nothing of the container runs or is read here.
"""

from __future__ import annotations

import os
import socket

from corten.linux.namespaces import CLONE_NEWNET, setns
from corten.shim import protocol

_IP_FREEBIND = 15  # an address may be bound before its interface is up, as in a container that is about to start
_BACKLOG = 64


def main(request: protocol.Message, control: int, netns: int) -> None:
    """Reply with the descriptors that `request["sockets"]` asks for, or with the error of the first that failed."""
    with socket.socket(fileno=control) as reply:
        try:
            setns(netns, CLONE_NEWNET)
            made = [_make(*wanted) for wanted in request["sockets"]]
        except OSError as error:
            protocol.send(reply, {"errno": error.errno or 0, "text": str(error)})
        else:
            protocol.send(reply, {}, [sock.fileno() for sock in made])
    os.close(netns)


def _make(family: int, kind: int, number: int, address: str) -> socket.socket:
    """One socket; bound to a port of the kernel's choice when there is an address, and then listening if it can."""
    sock = socket.socket(family, kind, number)
    sock.setblocking(False)
    if address:
        sock.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        sock.bind((address, 0))
        if kind == socket.SOCK_STREAM:
            sock.listen(_BACKLOG)
    return sock
