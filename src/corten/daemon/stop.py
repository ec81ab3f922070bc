"""`corten daemon stop`: end the daemon of these roots and wait for its end. A process of its own, not the daemon.

The process is found by who listens on the socket (SO_PEERCRED of unix(7)), which cannot be a recycled id as a
pidfile's could; it is signalled through a pidfd.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import struct

from corten.daemon.config import Config
from corten.errors import NotFound, Unavailable

_MARGIN_S = 15


def stop(config: Config) -> str:
    """SIGTERM to the running daemon; returns what to tell. Raises NotFound, Unavailable."""
    paths = [host.removeprefix("unix://") for host in config.hosts if host.startswith("unix://")]
    for path in paths:
        pid = _listener(path)
        if pid:
            return _end(pid, path, config.number("shutdown-timeout") + _MARGIN_S)
    raise NotFound(
        f"no daemon listens on {' or '.join(paths) or 'a unix socket'}",
        hint="give the -H or --exec-root that it was started with",
    )


def _listener(path: str) -> int:
    """The process that listens at `path`, 0 for none."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(5)
        try:
            sock.connect(path)
        except OSError:
            return 0
        pid, _uid, _gid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return int(pid)


def _end(pid: int, path: str, timeout_s: int) -> str:
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return f"The daemon (process {pid}) has ended."
    try:
        if _listener(path) == pid:  # the pidfd is this process's, not a successor's
            signal.pidfd_send_signal(pidfd, signal.SIGTERM)
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        if not poll.poll(timeout_s * 1000):
            raise Unavailable(f"the daemon (process {pid}) did not end within {timeout_s} s")
    finally:
        os.close(pidfd)
    return f"The daemon (process {pid}) has ended. Running containers go on."
