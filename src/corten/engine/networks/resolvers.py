"""The embedded DNS servers of all containers in user-defined networks: opened at start, closed at the end. Daemon only.

The sockets are made in the container's network namespace by the zygote, with a netlink socket by which the packet
filter in there is told to lead 127.0.0.11:53 to them. All of it ends with the container, or with the daemon: while no
daemon runs names do not resolve, and the next one opens the servers of living containers anew.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import socket
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from corten.engine.networks.egress import Egress
from corten.engine.networks.egress_names import NameGate
from corten.engine.networks.forwarding import Forwarder
from corten.engine.networks.host_resolv import HostResolvConf
from corten.engine.networks.inside import in_namespace
from corten.engine.networks.resolver import Resolver
from corten.engine.networks.settings import NetnsSockets
from corten.errors import CortenError, Unavailable
from corten.lib import blocking
from corten.linux.netlink import NETLINK_NETFILTER, NetlinkError, NetlinkSocket
from corten.network import nft_requests
from corten.network.config import ContainerEndpoints
from corten.network.conntrack import forget_udp_flows
from corten.network.dns.directory import NameDirectory
from corten.network.dns.redirect import PORT, redirect_table
from corten.network.dns.services import known_services
from corten.network.dns.upstream import Upstream, upstreams
from corten.network.hosts_files import EMBEDDED_SERVER
from corten.network.nft_socket import NftSocket

_LOG = logging.getLogger("corten.dns")
_AT_ONCE = 8
_WANTED = (
    (socket.AF_INET, socket.SOCK_DGRAM, 0, EMBEDDED_SERVER),
    (socket.AF_INET, socket.SOCK_STREAM, 0, EMBEDDED_SERVER),
    (socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER, ""),
)


class Resolvers:
    """One `Resolver` a container, by id."""

    def __init__(
        self,
        *,
        names: NameDirectory,
        host: HostResolvConf,
        records: Callable[[str], ContainerEndpoints | None],
        egress: Egress,
    ) -> None:
        self.netns: NetnsSockets | None = None
        self._names = names
        self._host = host
        self._records = records
        self._egress = egress
        self._open: dict[str, Resolver] = {}
        self._opening: set[str] = set()
        self._forgetting: asyncio.Task[None] | None = None

    async def open(self, cid: str, *, running: bool) -> None:
        """Serve a container that is about to start, or that is `running`. Raises Unavailable, OSError."""
        if cid in self._open or cid in self._opening or self.netns is None:
            return
        self._opening.add(cid)
        try:
            udp, tcp, netfilter = await self.netns.open_sockets(cid, _WANTED)
            forwarder = Forwarder(partial(self._servers, cid), partial(self.netns.open_sockets, cid))
            gate = NameGate(cid, self._egress)
            resolver = Resolver(cid, self._names, forwarder, gate=gate, udp=udp, tcp=tcp)
            try:
                redirect = partial(_redirect, udp_port=udp.getsockname()[1], tcp_port=tcp.getsockname()[1])
                if running:
                    await in_namespace(netfilter, redirect)
                else:
                    redirect(netfilter)
                if cid not in self._opening:
                    raise Unavailable(f"container {cid} has ended")
                resolver.open()
            except BaseException:
                resolver.close()
                raise
            finally:
                netfilter.close()  # when nothing was asked over it
            self._open[cid] = resolver
        finally:
            self._opening.discard(cid)

    def _servers(self, cid: str) -> Sequence[Upstream]:
        record = self._records(cid)
        if record is None:
            return ()
        ipv6 = any(endpoint.ipv6 for endpoint in record.endpoints)
        found = upstreams(record.dns, self._host.current().servers, ipv6=ipv6)
        if self._egress.names_limited(cid):  # it may not reach them itself, nor may a server of its own be believed
            return [Upstream(server.address, from_host=True) for server in found]
        return found

    async def recover(self, cids: Iterable[str]) -> None:
        """Once, at start: serve living containers (again). What fails is logged."""
        await blocking.run(known_services)
        slots = asyncio.Semaphore(_AT_ONCE)

        async def again(cid: str) -> None:
            async with slots:
                try:
                    await self.open(cid, running=True)
                except (CortenError, OSError):
                    _LOG.exception("container %s has no name server", cid)

        served = list(cids)
        await asyncio.gather(*map(again, served))
        self._forgetting = asyncio.get_running_loop().create_task(self._forget_flows(served))

    async def _forget_flows(self, cids: Iterable[str]) -> None:
        """A client that asks from a port which was used before is led to where the earlier daemon's server was, until
        that flow is forgotten. One container after the other, since each costs a walk through the machine's flows."""
        for cid in cids:
            if cid not in self._open or self.netns is None:
                continue
            try:
                (netfilter,) = await self.netns.open_sockets(cid, _WANTED[-1:])
                await in_namespace(netfilter, _forget)
            except (CortenError, OSError) as error:
                _LOG.warning("container %s may ask an earlier name server for a while: %s", cid, error)

    async def settled(self) -> None:
        """No client is led to an earlier daemon's server any more."""
        if self._forgetting is not None:
            await asyncio.wait([self._forgetting])

    def close(self, cid: str) -> None:
        """The container ended; idempotent."""
        self._opening.discard(cid)
        resolver = self._open.pop(cid, None)
        if resolver is not None:
            resolver.close()

    def close_all(self) -> None:
        """The daemon ends."""
        if self._forgetting is not None:
            self._forgetting.cancel()
        for cid in list(self._open):
            self.close(cid)


def _forget(netfilter: socket.socket) -> None:
    with NetlinkSocket(NETLINK_NETFILTER, fileno=netfilter.detach()) as inside:
        forget_udp_flows([(ipaddress.ip_address(EMBEDDED_SERVER), PORT)], inside)


def _redirect(netfilter: socket.socket, *, udp_port: int, tcp_port: int) -> None:
    """Tell the packet filter of the container's namespace where the server's ports are."""
    table = redirect_table(udp_port=udp_port, tcp_port=tcp_port)
    what = "redirect the name server's port"
    filters = NftSocket(NetlinkSocket(NETLINK_NETFILTER, fileno=netfilter.detach()))
    try:
        try:
            filters.commit(nft_requests.create_table(table), what)
        except NetlinkError as error:
            if error.errno != errno.EEXIST:
                raise
            # an earlier daemon's; whoever deletes waits some 10 ms when the socket is closed
            filters.commit(nft_requests.replace_table(table), what)
    except OSError as error:
        raise Unavailable(f"the container's name server cannot be reached: {error}") from error
    finally:
        filters.close()
