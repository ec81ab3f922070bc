"""Whether a peer that ended its writing side has gone altogether. Daemon only; one poll(2), no wait."""

from __future__ import annotations

import select
import socket


def peer_closed(sock: socket.socket | None, method: str) -> bool:
    """After the end of input: True when the peer closed both directions.

    A unix socket tells (POLLHUP). TCP does not: there an end is a goodbye, as Go's server takes it, but for POST, since
    that is how clients without standard input begin an attach.
    """
    if sock is None or sock.fileno() < 0:
        return True
    if sock.family != socket.AF_UNIX:
        return method != "POST"
    poll = select.poll()
    poll.register(sock.fileno(), 0)
    return any(event & (select.POLLHUP | select.POLLERR) for _fd, event in poll.poll(0))
