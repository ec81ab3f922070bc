"""Accepts connections of a listening socket on the daemon's loop, some in each turn. Daemon only.

When descriptors are short (EMFILE, ENFILE, ENOBUFS, ENOMEM) the connection stays in the backlog and the socket stays
readable: the loop would come back to it for ever. It is left alone for a while instead.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable

_LOG = logging.getLogger("corten.network")
_SHORT = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_PAUSE_S = 0.5


class Listener:
    """Calls `on_client` with each connection, which owns it then, from `open` to `close`. The socket stays its owner's
    and does not block; `at_once` is how many connections are taken in one turn of the loop."""

    def __init__(self, sock: socket.socket, on_client: Callable[[socket.socket], None], *, at_once: int = 1) -> None:
        self._sock = sock
        self._on_client = on_client
        self._at_once = at_once
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        self._said = False

    def open(self) -> None:
        """Begin to accept, or go on."""
        self._pause = None
        self._loop.add_reader(self._sock.fileno(), self._accept)

    def close(self) -> None:
        """End; idempotent, but before the socket is closed."""
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        if self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock.fileno())

    def _accept(self) -> None:
        for _ in range(self._at_once):
            try:
                client, _peer = self._sock.accept()
            except OSError as error:  # nothing more for now, or the client is gone again
                if error.errno in _SHORT:
                    self._wait(error)
                return
            self._said = False
            client.setblocking(False)
            self._on_client(client)

    def _wait(self, error: OSError) -> None:
        """Told once, until connections can be accepted again."""
        if not self._said:
            _LOG.error("connections wait, since they cannot be accepted: %s", error)
            self._said = True
        self._loop.remove_reader(self._sock.fileno())
        self._pause = self._loop.call_later(_PAUSE_S, self.open)
