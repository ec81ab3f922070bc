"""Makes sockets in a container's network namespace and sends them to the daemon. Runs in the zygote.

The daemon has threads and never calls setns; the zygote has one thread, so it can enter a network namespace and leave
it again: a socket belongs for ever to the namespace that it was made in, whoever uses it. A fork for this would cost
each start in a user-defined network a millisecond. Nothing of the container runs or is read here.
"""

from __future__ import annotations

import os
import socket

from corten.linux.namespaces import CLONE_NEWNET, setns
from corten.linux.rtnetlink import bring_up_loopback, write_sysctls
from corten.shim import protocol

_BACKLOG = 64


def hand_out_sockets(request: protocol.Message, control: int, netns: int) -> None:
    """Write `sysctls` (interface -> key -> value, which the kernel resolves by the writer's namespace), then send
    `sockets` (family, type, protocol, address) to `control`, or the error of the first that failed.

    Takes both descriptors. A zygote that cannot come home ends: the daemon starts another.
    """
    made: list[socket.socket] = []
    with socket.socket(fileno=control) as reply:
        home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            try:
                setns(netns, CLONE_NEWNET)
                try:
                    for interface, values in request["sysctls"].items():
                        write_sysctls(interface, values)
                    if any(address for *_kind, address in request["sockets"]):
                        # it may be about to start: a socket that is bound to 127.0.0.11 while lo is down (IP_FREEBIND)
                        # would answer from 127.0.0.1 for ever
                        bring_up_loopback()
                    for each in request["sockets"]:
                        made.append(_make(*each))  # noqa: PERF401 - what was made before a failure is closed below
                finally:
                    _return(home)
            except OSError as error:
                _send(reply, {"errno": error.errno or 0, "text": str(error)}, [])
            else:
                _send(reply, {}, [sock.fileno() for sock in made])
        finally:
            os.close(home)
            os.close(netns)
            for sock in made:
                sock.close()


def _return(home: int) -> None:
    try:
        setns(home, CLONE_NEWNET)
    except OSError:
        os._exit(1)


def _send(reply: socket.socket, message: protocol.Message, fds: list[int]) -> None:
    try:
        protocol.send(reply, message, fds)
    except OSError:  # the daemon waits no longer
        return


def _make(family: int, kind: int, number: int, address: str) -> socket.socket:
    """One socket; bound to a port of the kernel's choice when there is an address, and then listening if it can."""
    sock = socket.socket(family, kind, number)
    try:
        sock.setblocking(False)
        if address:
            sock.bind((address, 0))
            if kind == socket.SOCK_STREAM:
                sock.listen(_BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock
