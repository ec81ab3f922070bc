"""`corten system dial-stdio`: what ssh:// addresses run on the far side."""

from __future__ import annotations

import os
import select

from corten.cli.command import Call, Command
from corten.cli.streams import write_all

_CHUNK = 64 << 10


def dial_stdio(call: Call) -> None:
    """Copy between standard input and output and the engine's socket until both directions have ended."""
    sock = call.client.connection().sock
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLIN)
    poll.register(0, select.POLLIN)
    while True:
        for ready, _ in poll.poll():
            if ready == 0:
                data = os.read(0, _CHUNK)
                if data:
                    sock.sendall(data)
                else:
                    poll.unregister(0)
                    sock.shutdown(1)
            else:
                data = sock.recv(_CHUNK)
                if not data:
                    return
                write_all(1, data)


COMMAND = Command("", dial_stdio)
