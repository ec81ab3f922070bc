"""Requests to the kernel in the network namespace of a running container, off the daemon's loop. Daemon only.

A container with CAP_NET_ADMIN can make them slow: its own requests hold the locks that ours need, its tables may be
huge. Sixteen are under way at once, one that takes longer than a second leaves its place to others, waiting ends after
ten seconds, and a thread ends as the kernel lets it. Before a container runs nobody else is in its namespace, and what
a start needs there is asked on the loop.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from corten.errors import Unavailable
from corten.lib import blocking

_WAIT_S = 10.0


async def in_namespace(
    opened: socket.socket, work: Callable[[socket.socket], None], *, wait_s: float = _WAIT_S
) -> None:
    """Do `work` over a socket of the namespace, which it takes (`detach`) first of all. Raises Unavailable (the kernel
    is too slow), and what `work` raises."""
    try:
        async with asyncio.timeout(wait_s):
            await blocking.run(work, opened, pool="netns")
    except TimeoutError as error:
        raise Unavailable("the kernel does not answer in the container's network namespace") from error
    finally:
        opened.close()  # when it did not come to that
