"""The services' addresses in clients' network namespaces: a table of the packet filter in each. Daemon only.

One lane a container: its changes go one after the other, in threads of their own pool, the newest state last. A
container that may change its own packet filter can make its lane slow or undo what it says; that harms nobody else. The
tables stay while no daemon runs, and what they have counted is taken over when they are replaced.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from corten.engine.networks.settings import NetnsSockets
from corten.errors import CortenError
from corten.lib import blocking
from corten.linux.netlink import NETLINK_NETFILTER, NetlinkSocket
from corten.network import nft_requests
from corten.network.nft_balancing import CLIENT_TABLE, Spread, client_table, counts_of, of_members, silenced
from corten.network.nft_socket import NftSocket
from corten.network.translated_flows import forget_udp_flows_to

_LOG = logging.getLogger("corten.network")
_SOCKET = ((socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER, ""),)
_RETRY_S, _LAST_RETRY_S = 0.1, 30.0
_MOST_DUMPED = 4 << 20  # of one map: some 35,000 slots, where a service has a few; a client can make its own huge
_SETTLE_S = 2.0  # a change waits no longer for the namespaces that are slow

Counts = dict[tuple[str, bytes], int]
T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Lane:
    """A client: what its table is to say, and what it says (None: not known)."""

    cid: str
    wanted: tuple[Spread, ...] = ()
    applied: tuple[Spread, ...] | None = None
    filters: NftSocket | None = None
    task: asyncio.Task[None] | None = None
    failures: int = 0
    ended: bool = False
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class ServiceMaps:
    """All clients' tables."""

    def __init__(self) -> None:
        self.netns: NetnsSockets | None = None
        self._lanes: dict[str, _Lane] = {}
        self._ending: set[asyncio.Task[Any]] = set()
        self._turn = 0
        self.counted: Counts = {}  # by clients that have ended since the daemon's start

    def set(self, cid: str, spreads: Sequence[Spread]) -> None:
        """A running client's table is to say this. Returns at once; `settle` waits."""
        lane = self._lanes.get(cid)
        if lane is None:
            if not spreads:
                return
            lane = self._lanes[cid] = _Lane(cid)
        lane.wanted = tuple(spreads)
        if lane.wanted == lane.applied or self.netns is None:
            return
        if lane.task is None:
            lane.task = asyncio.get_running_loop().create_task(self._run(lane))
        lane.changed.set()

    def close(self, cid: str) -> None:
        """The client has ended; its namespace is let go."""
        lane = self._lanes.pop(cid, None)
        if lane is None:
            return
        lane.ended = True
        lane.changed.set()
        task = asyncio.get_running_loop().create_task(self._end(lane))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def close_all(self) -> None:
        """The daemon ends; the tables stay."""
        for cid in list(self._lanes):
            self.close(cid)
        if self._ending:
            await asyncio.wait(self._ending, timeout=_SETTLE_S)

    async def settle(self, cids: Iterable[str] | None = None) -> None:
        """Wait until the tables say what they are to say; for slow ones a bounded time, for failing ones not at all."""
        lanes = self._lanes.values() if cids is None else [self._lanes[cid] for cid in cids if cid in self._lanes]
        tasks = [lane.task for lane in lanes if lane.task is not None and not lane.failures]
        if tasks:
            await asyncio.wait(tasks, timeout=_SETTLE_S)

    async def counts(self) -> Counts:
        """New connections by map and backend, of all clients; without those whose namespaces are slow."""
        found = dict(self.counted)
        loop = asyncio.get_running_loop()
        reads = [loop.create_task(self._read(lane)) for lane in self._lanes.values() if lane.filters is not None]
        if reads:
            done, late = await asyncio.wait(reads, timeout=_SETTLE_S)
            for read in done:
                _add(found, read.result())
            for read in late:
                read.cancel()
                self._ending.add(read)
                read.add_done_callback(self._ending.discard)
        return found

    # -- a lane

    async def _run(self, lane: _Lane) -> None:
        """Until the table says what is wanted."""
        try:
            while lane.wanted != lane.applied and not lane.ended:
                lane.changed.clear()
                try:
                    await self._apply(lane, lane.wanted)
                    lane.failures = 0
                except (CortenError, OSError) as error:
                    if lane.ended:
                        return
                    lane.failures += 1
                    _LOG.warning("services cannot be told to a container: %s", error, extra={"container": lane.cid})
                    await self._pause(lane)
        finally:
            lane.task = None

    async def _pause(self, lane: _Lane) -> None:
        delay_s = min(_RETRY_S * 2**lane.failures, _LAST_RETRY_S)
        try:
            async with asyncio.timeout(delay_s):
                await lane.changed.wait()
        except TimeoutError:
            return

    async def _apply(self, lane: _Lane, wanted: tuple[Spread, ...]) -> None:
        async with lane.lock:
            if lane.ended:
                return
            if lane.filters is None:
                assert self.netns is not None
                (made,) = await self.netns.open_sockets(lane.cid, _SOCKET)
                lane.filters = NftSocket(NetlinkSocket(NETLINK_NETFILTER, fileno=made.detach()))
            self._turn += 1
            try:
                await self._in_thread(_replace, lane.filters, wanted, self._turn)
            except OSError:
                await self._let_go(lane)
                raise
            lane.applied = wanted

    async def _read(self, lane: _Lane) -> Counts:
        async with lane.lock:
            if lane.filters is None:
                return {}
            try:
                return await self._in_thread(_members_counts, lane.filters, lane.applied or lane.wanted)
            except OSError as error:
                _LOG.warning("a container's connections are not counted: %s", error, extra={"container": lane.cid})
                await self._let_go(lane)
                return {}

    async def _end(self, lane: _Lane) -> None:
        """What it has counted is kept, then the socket goes; deletions in the namespace are waited for there."""
        _add(self.counted, await self._read(lane))
        async with lane.lock:
            await self._let_go(lane)

    async def _let_go(self, lane: _Lane) -> None:
        """The socket: at the end, and of one that failed nobody knows what it still brings."""
        filters, lane.filters = lane.filters, None
        if filters is not None:
            await self._in_thread(filters.close)

    @staticmethod
    async def _in_thread(work: Callable[..., T], *arguments: object) -> T:
        """A thread cannot be cancelled: whoever waits for one is cancelled when it is done with the socket."""
        running = asyncio.ensure_future(blocking.run(work, *arguments, pool="netns"))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait([running])
            raise


def _replace(filters: NftSocket, spreads: Sequence[Spread], turn: int) -> None:
    """Put a table in the place of the one that is there. Blocking."""
    counts = _counts(filters, spreads)
    table = client_table(spreads, counts, turn=turn)
    filters.commit(nft_requests.replace_table(table), "tell a container of services")
    gone = silenced(spreads, counts)
    if gone:  # a walk through all flows of the machine: some milliseconds
        forget_udp_flows_to(gone, filters.netlink)


def _counts(filters: NftSocket, spreads: Sequence[Spread]) -> Counts:
    found: Counts = {}
    for spread in spreads:
        for name in spread.maps:
            found |= counts_of(name, filters.elements(CLIENT_TABLE, name, most_bytes=_MOST_DUMPED))
    return found


def _members_counts(filters: NftSocket, spreads: Sequence[Spread]) -> Counts:
    return of_members(spreads, _counts(filters, spreads))


def _add(total: Counts, more: Counts) -> None:
    for key, count in more.items():
        total[key] = total.get(key, 0) + count
