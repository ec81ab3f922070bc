"""Services: who is a member of which, who of them serves, and what names, maps and rules are told of it. Daemon only,
on the loop.

A service is a name in a network, with addresses of that network which are its own: labels of containers declare it, or
a network whose aliases are services. It lasts as long as any container has it, running or not, and keeps its addresses
so long, through restarts of the daemon. Who serves is decided by the same rule as names (`network.dns.directory`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from corten.engine.networks.addresses import BUILT_IN
from corten.engine.networks.draining import until_drained
from corten.engine.networks.registry import Registry
from corten.engine.networks.service_maps import ServiceMaps
from corten.engine.networks.settings import Records
from corten.engine.networks.shared_relays import SharedRelays
from corten.errors import CortenError
from corten.lib import blocking, codec
from corten.linux.netlink import NETLINK_NETFILTER, NetlinkSocket
from corten.network import balancing
from corten.network.balancing import Balance
from corten.network.config import ContainerEndpoints, Endpoint, NetworkConfig
from corten.network.dns.directory import HEALTHY, STARTING, UNCHECKED, NameDirectory
from corten.network.firewall import Firewall
from corten.network.ipam import IPAddress, parse_interface
from corten.network.nft_balancing import Spread
from corten.network.service_labels import ServiceLabels, names_of_services, parse_labels, service_key
from corten.network.translated_flows import forget_udp_flows_to

_LOG = logging.getLogger("corten.network")


class ServiceRecord(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A service's row. `addresses` have prefix lengths; `holders` are the ids of containers that have it."""

    network: str
    name: str
    addresses: list[str] = []
    balance: str = ""
    holders: list[str] = []


@dataclass(slots=True, kw_only=True)
class Member:
    """A running container in a service."""

    cid: str
    name: str
    endpoint: Endpoint
    labels: ServiceLabels

    @property
    def addresses(self) -> tuple[IPAddress, ...]:
        """Its addresses in the network."""
        return tuple(a for version in (4, 6) if (a := self.endpoint.address(version)) is not None)


class Services:
    """All services of all networks."""

    def __init__(
        self,
        *,
        registry: Registry,
        records: Records,
        names: NameDirectory,
        firewall: Firewall,
        relays: SharedRelays,
    ) -> None:
        self._registry = registry
        self._rows = records
        self._names = names
        self._firewall = firewall
        self._relays = relays
        self.maps = ServiceMaps()
        self._records: dict[str, ServiceRecord] = {}
        self._members: dict[str, dict[str, Member]] = {}  # service key -> container id -> member
        self._networks: dict[str, list[str]] = {}  # container id -> the networks whose services it may reach
        self._started: set[str] = set()
        self._told: dict[str, balancing.Service] = {}
        self._push: asyncio.Handle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    # -- life

    def load(self, living: Iterable[str], exists: Callable[[str], bool]) -> None:
        """Once, at start, before endpoints are recovered: rows, addresses, and containers that are gone."""
        self._started = set(living)
        for key, value in list(self._rows.list()):
            record = codec.decode(ServiceRecord, value)
            network = self._registry.get(record.network)
            record.holders = [cid for cid in record.holders if exists(cid)]
            if network is None or not record.holders:
                self._rows.delete(key)
                continue
            self._records[key] = record
            self._members[key] = {}
            for cidr in record.addresses:
                self._registry.retake(network, cidr)
        self._changed()

    async def settle(self) -> None:
        """Everything that was decided is told; to slow namespaces a bounded time."""
        self.tell()
        await self.maps.settle()

    async def close(self) -> None:
        """The daemon ends; rules and tables stay."""
        if self._push is not None:
            self._push.cancel()
        await self.maps.close_all()

    # -- what happens to containers

    def put(self, record: ContainerEndpoints, places: Sequence[tuple[Endpoint, NetworkConfig]]) -> None:
        """A running container's places in networks are now these."""
        cid = record.container
        labels = parse_labels(record.labels)
        wanted: dict[str, Member] = {}
        own = {record.name.lower(), cid[:12]}
        for endpoint, network in places:
            for name in names_of_services(labels, network, endpoint, own=own):
                key = service_key(network.id, name)
                wanted[key] = Member(cid=cid, name=record.name, endpoint=endpoint, labels=labels)
                self._hold(key, network, name, cid, labels)
        for key, members in self._members.items():
            if members.pop(cid, None) is not None and key not in wanted:
                self._release(key, cid)
        for key, member in wanted.items():
            self._members[key][cid] = member
        self._networks[cid] = [network.id for _endpoint, network in places if not network.predefined]
        self._changed()

    def started(self, cid: str) -> None:
        """Its process runs: until then it takes nothing."""
        self._started.add(cid)
        self._changed()

    def health_changed(self) -> None:
        """Some container's health is another one."""
        self._changed()

    def drop(self, cid: str) -> None:
        """The container has ended; it still has its services."""
        for members in self._members.values():
            members.pop(cid, None)
        self._started.discard(cid)
        self._networks.pop(cid, None)
        self.maps.close(cid)
        self._changed()

    def left(self, cid: str, network_id: str = "") -> None:
        """The container is removed, or has left this network, running or not: services that it alone had end."""
        for key, record in list(self._records.items()):
            if network_id in ("", record.network):
                self._release(key, cid)
        self._changed()

    def network_removed(self, network_id: str) -> None:
        """The network's services go with it."""
        for key, record in list(self._records.items()):
            if record.network == network_id:
                self._forget(key)
        self._names.set_services(network_id, {})
        self._changed()

    async def ready(self, cid: str) -> None:
        """A container that is about to start reaches the services of its networks."""
        if self._records:
            self.tell()
            await self.maps.settle([cid])

    async def withdraw(self, cid: str, pid_of: Callable[[], int], *, drain: bool) -> None:
        """A container is going to be stopped or paused: it gets nothing new from now on. With `drain` its own time for
        that is waited until the connections that it has are over."""
        labels = [members[cid].labels for members in self._members.values() if cid in members]
        person = self._names.person(cid)
        if not labels or person is None:
            return
        person.leaving = True
        await self.settle()
        if drain and labels[0].drain_s:
            await until_drained(pid_of(), labels[0].drain_s, ended=lambda: cid not in self._networks)

    def restore(self, cid: str) -> None:
        """A container that was withdrawn goes on."""
        person = self._names.person(cid)
        if person is not None and person.leaving:
            person.leaving = False
            self._changed()

    # -- records

    def _hold(self, key: str, network: NetworkConfig, name: str, cid: str, labels: ServiceLabels) -> None:
        record = self._records.get(key)
        if record is None:
            record = ServiceRecord(network=network.id, name=name, addresses=self._allocate(network, name))
            self._records[key] = record
            self._members[key] = {}
        balance = labels.balance or record.balance
        if cid not in record.holders or balance != record.balance:
            record.balance = balance
            record.holders = list(dict.fromkeys([*record.holders, cid]))
            self._rows.put(key, codec.encode(record))

    def _allocate(self, network: NetworkConfig, name: str) -> list[str]:
        """The service's own addresses. None in networks without names, where a plugin or nobody gives out addresses,
        and when there are none left: it is a name of its members then."""
        found: list[str] = []
        if network.predefined or network.ipam_driver != BUILT_IN:
            return found
        try:
            for version, enabled in ((4, network.enable_ipv4), (6, network.enable_ipv6)):
                cidr = self._registry.allocate(network, version, "", highest=True) if enabled else ""
                found += [cidr] if cidr else []
        except CortenError:
            _LOG.exception("service %s of network %s has no address of its own", name, network.name)
        return found

    def _release(self, key: str, cid: str) -> None:
        record = self._records[key]
        if cid not in record.holders:
            return
        record.holders.remove(cid)
        if record.holders:
            self._rows.put(key, codec.encode(record))
            return
        self._forget(key)
        self._spawn(self._free(record))

    def _forget(self, key: str) -> None:
        self._rows.delete(key)
        del self._records[key]
        self._members[key] = {}

    async def _free(self, record: ServiceRecord) -> None:
        """Addresses are free when nobody translates them any more: the next to have one is a container."""
        await self.settle()
        for cidr in record.addresses:
            self._registry.free(record.network, cidr)

    # -- telling

    def _changed(self) -> None:
        if self._push is None and (self._records or self._told):
            self._push = asyncio.get_running_loop().call_soon(self.tell)

    def tell(self) -> None:
        """Names, clients, host and relays learn what has changed."""
        if self._push is not None:
            self._push.cancel()
            self._push = None
        self._members = {key: members for key, members in self._members.items() if key in self._records}
        now = {key: self._service(key, record) for key, record in self._records.items()}
        named: dict[str, dict[str, tuple[IPAddress, ...]]] = {}
        spreads: dict[str, list[Spread]] = {}
        for key, service in now.items():
            record = self._records[key]
            if service.addresses:
                named.setdefault(record.network, {})[record.name] = service.addresses
                spreads.setdefault(record.network, []).extend(spreads_of(service))
        for network_id in {record.network for record in self._records.values()} | self._networks_told():
            self._names.set_services(network_id, named.get(network_id, {}))
        for cid, networks in self._networks.items():
            self.maps.set(cid, [spread for network_id in networks for spread in spreads.get(network_id, ())])
        if now != self._told:
            self._told = now
            self._tell_host(now)

    def _networks_told(self) -> set[str]:
        return {key.partition("/")[0] for key in self._told}

    def _tell_host(self, now: Mapping[str, balancing.Service]) -> None:
        self._relays.tell(now)
        try:
            gone = self._firewall.balance(now)
        except (CortenError, OSError):
            _LOG.exception("the host's rules of services could not be changed")
            return
        if gone:
            self._spawn(blocking.run(_forget_on_host, gone, pool="netns"))

    def _service(self, key: str, record: ServiceRecord) -> balancing.Service:
        serving = [m for m in self.members(key) if self.state(key, m) == SERVING]
        return balancing.Service(
            balance=self.balance(key),
            addresses=tuple(parse_interface(cidr).ip for cidr in record.addresses),
            members=tuple(balancing.Member(addresses=m.addresses, weight=m.labels.weight or 1) for m in serving),
        )

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _LOG.error("what a service leaves could not be cleared away", exc_info=task.exception())

    # -- what is known, for listing

    def records(self) -> Mapping[str, ServiceRecord]:
        """All services by key."""
        return self._records

    def members(self, key: str) -> list[Member]:
        """The running members of a service."""
        return list(self._members.get(key, {}).values())

    def balance(self, key: str) -> Balance:
        """How a service's connections are spread."""
        declared = Balance(self._records[key].balance or Balance.ROUND_ROBIN)
        if declared is Balance.ROUND_ROBIN and any(m.labels.weight for m in self.members(key)):
            return Balance.WEIGHTED
        return declared

    def state(self, key: str, member: Member) -> str:
        """Whether a member serves, or why it does not."""
        person = self._names.person(member.cid)
        if person is None or member.cid not in self._started:
            return STARTING
        if person.leaving:
            return DRAINING
        if person.health in (HEALTHY, UNCHECKED):
            return SERVING
        return SERVING if person.health == STARTING and not self._any_healthy(key) else person.health

    def _any_healthy(self, key: str) -> bool:
        people = [p for m in self.members(key) if m.cid in self._started and (p := self._names.person(m.cid))]
        return any(person.health in (HEALTHY, UNCHECKED) and not person.leaving for person in people)


SERVING, DRAINING = "serving", "draining"


def spreads_of(service: balancing.Service) -> list[Spread]:
    """A service's addresses, for its clients' tables."""
    return [
        Spread(address=address, balance=service.balance, backends=service.backends(address.version))
        for address in service.addresses
    ]


def _forget_on_host(gone: set[IPAddress]) -> None:
    """UDP clients of a member that serves no longer find another one. Blocking."""
    with NetlinkSocket(NETLINK_NETFILTER) as netlink:
        forget_udp_flows_to(gone, netlink)
