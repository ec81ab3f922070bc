"""Waits until a container has no connection that somebody else has opened. Daemon only.

The kernel tells a namespace's TCP sockets in /proc/<pid>/net/tcp (proc(5)): of those, the ones at a port that the
container listens on were opened by others, through a service's address, a published port or directly. What it has
opened itself, to a database say, does not count: that may last for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from corten.lib import blocking

_POLL_S = 0.05
_LISTEN = "0A"
# Data may still be under way: established, half open, half closed by either side (include/net/tcp_states.h).
_ALIVE = frozenset({"01", "03", "04", "08"})


async def until_drained(pid: int, seconds: float, *, ended: Callable[[], bool]) -> None:
    """Wait until there is none, at most `seconds`, and no longer than the container runs."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not ended() and (left := deadline - loop.time()) > 0:
        await asyncio.sleep(min(_POLL_S, left))
        if not await blocking.run(_incoming, pid, pool="netns"):
            return


def _incoming(pid: int) -> int:
    """How many there are. 0 when the process is gone. Blocking."""
    tables = []
    for name in ("tcp", "tcp6"):
        try:
            with open(f"/proc/{pid}/net/{name}", encoding="ascii") as table:
                tables.append(table.readlines())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return incoming([line for table in tables for line in table])


def incoming(lines: Iterable[str]) -> int:
    """Living connections at ports that are listened on, from the lines of /proc/net/tcp and tcp6. Pure."""
    listening: set[str] = set()
    living: list[str] = []
    for line in lines:
        fields = line.split()
        if len(fields) < 4 or ":" not in fields[1]:
            continue
        port = fields[1].rpartition(":")[2]
        if fields[3] == _LISTEN:
            listening.add(port)
        elif fields[3] in _ALIVE:
            living.append(port)
    return sum(port in listening for port in living)
