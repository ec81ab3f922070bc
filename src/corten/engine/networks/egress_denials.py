"""What egress lists refused becomes events of the containers: `egress-denied`. Daemon only, on the loop.

Packets come from the kernel's log, where the rules let a few a second through; names come from the embedded name
server and are as few. A turn of the loop takes a bounded share, the rest waits in the kernel's buffer or is lost there.
"""

from __future__ import annotations

import asyncio
import logging
import time
import zlib
from collections.abc import Callable

from corten.network.ipam import IPAddress
from corten.network.nflog import LogSocket, listen

_LOG = logging.getLogger("corten.network")
ACTION = "egress-denied"
_FIRST_GROUP, _GROUPS, _TRIES = 0x4000, 0x4000, 16
_DATAGRAMS_A_TURN = 8
_PAUSE_S = 0.2
_NAMES_A_SECOND, _NAMES_BURST = 5.0, 10.0

Whose = Callable[[IPAddress, IPAddress], tuple[str, str]]
"""(source, destination) -> (container id or "", a name of the destination or "")."""


class Denials:
    """Listens to one log group, and tells."""

    def __init__(self, table: str, whose: Whose) -> None:
        self.tell: Callable[[str, dict[str, str]], None] | None = None
        self._group = _FIRST_GROUP + zlib.crc32(table.encode()) % _GROUPS
        self._whose = whose
        self._socket: LogSocket | None = None
        self._resume: asyncio.TimerHandle | None = None
        self._buckets: dict[str, tuple[float, float]] = {}  # container id -> (tokens, when)

    @property
    def group(self) -> int | None:
        """Where the rules shall log to; None: nobody listens."""
        return self._socket.group if self._socket is not None else None

    def listen(self) -> None:
        """Begin. Without the kernel's help packets are rejected all the same, but not told."""
        try:
            self._socket = listen(self._group, _TRIES)
        except OSError as error:
            _LOG.warning(
                "egress: rejected packets will not be told as events, only names: %s (CONFIG_NETFILTER_NETLINK_LOG)",
                error,
            )
            return
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._read)

    def close(self) -> None:
        """Stop: the daemon ends, or there is nothing to hear."""
        if self._resume is not None:
            self._resume.cancel()
            self._resume = None
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def name(self, cid: str, name: str) -> None:
        """A name that no list has was asked for."""
        tokens, since = self._buckets.get(cid, (_NAMES_BURST, 0.0))
        now = time.monotonic()
        tokens = min(_NAMES_BURST, tokens + (now - since) * _NAMES_A_SECOND)
        self._buckets[cid] = (max(tokens - 1, 0.0), now)
        if tokens >= 1:
            self._tell(cid, {"destination": name, "protocol": "dns", "domain": name})

    def forget(self, cid: str) -> None:
        """A container has left its last network."""
        self._buckets.pop(cid, None)

    def _read(self) -> None:
        assert self._socket is not None
        for _ in range(_DATAGRAMS_A_TURN):
            try:
                packets = self._socket.read()
            except OSError as error:  # for good: the loop would be told of it in each of its turns
                _LOG.warning("egress: rejected packets are no longer told as events, only names: %s", error)
                self.close()
                return
            if packets is None:
                return
            for packet in packets:
                cid, name = self._whose(packet.source, packet.destination)
                if cid:
                    about = {"destination": str(packet.destination), "protocol": packet.protocol}
                    about |= {"port": str(packet.port)} if packet.port else {}
                    self._tell(cid, about | ({"domain": name} if name else {}))
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._socket.fileno())
        self._resume = loop.call_later(_PAUSE_S, loop.add_reader, self._socket.fileno(), self._read)

    def _tell(self, cid: str, about: dict[str, str]) -> None:
        if self.tell is not None:
            self.tell(cid, about)
