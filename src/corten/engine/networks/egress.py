"""Who is limited by egress lists, and the rules kept equal to it. Daemon only, on the loop.

A container's place in a network is limited before its link exists, and until it is gone: neither a process that waits
inside for a new interface nor one that outlives the container in its network namespace finds a moment without rules.
The list stands in the records of container and network; where the rules cannot be made, the start fails.
"""

from __future__ import annotations

import ipaddress
import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from corten.engine.networks.egress_denials import Denials
from corten.engine.networks.registry import Registry
from corten.errors import CortenError, InvalidArgument
from corten.lib.undo import Undo
from corten.linux import rtnetlink
from corten.linux.netlink import NetlinkSocket
from corten.network.config import ContainerEndpoints, Endpoint, NetworkConfig, host_link
from corten.network.driver import NetworkDriver
from corten.network.egress import OPTION_EGRESS, EgressList, Ports, believable, parse_rules
from corten.network.egress_firewall import EgressFirewall
from corten.network.egress_rules import NO_LIMITS, BoundPort, Limits, difference
from corten.network.firewall_watch import FirewallWatch
from corten.network.ipam import IPAddress, IPNetwork

_LOG = logging.getLogger("corten.network")
_KEY_LENGTH = 24  # of an id: unique on a host, and short enough in the names of chains
_HOST_ADDRESSES_S = 5.0

Listed = list[tuple[str, Ports]]
"""Keys of lists, and the ports at which each has a name."""


@lru_cache(maxsize=1024)
def _parsed(rules: tuple[str, ...]) -> EgressList:
    return parse_rules(rules)


def network_list(network: NetworkConfig) -> EgressList | None:
    """The list of a network, None without one. Raises InvalidArgument."""
    text = network.options.get(OPTION_EGRESS)
    return None if text is None else _parsed((text,))


def check_network(network: NetworkConfig, driver: NetworkDriver) -> None:
    """Whether a network can have the list it asks for. Raises InvalidArgument."""
    if network_list(network) is not None and not network.config_only:
        _check_driver(network, driver)


def check_endpoint(rules: Sequence[str] | None, network: NetworkConfig, driver: NetworkDriver) -> None:
    """Whether a container with these rules can be in a network. Raises InvalidArgument."""
    if rules is None:
        return
    _parsed(tuple(rules))
    if driver.addressed or network.driver == "host":
        _check_driver(network, driver)


def _check_driver(network: NetworkConfig, driver: NetworkDriver) -> None:
    if driver.rules(network) is None:
        raise InvalidArgument(
            f"an egress list cannot be kept in network {network.name} (driver {network.driver}): its packets do not "
            "pass the host's packet filter; use a bridge network"
        )


@dataclass(frozen=True, slots=True)
class _Place:
    """A container's place in a bridge network."""

    cid: str
    network: NetworkConfig
    veth: str
    mac: str
    addresses: tuple[IPAddress, ...]


class Egress:
    """All places of containers in bridge networks, and which of them are limited."""

    def __init__(self, *, table: str, registry: Registry, netlink: NetlinkSocket) -> None:
        self.firewall = EgressFirewall(table)
        self.denials = Denials(table, self._whose)
        self._watch = FirewallWatch(self.firewall)
        self._watching = False
        self._registry = registry
        self._netlink = netlink
        self._lists: dict[str, EgressList] = {}  # container id -> its own list
        self._places: dict[str, _Place] = {}  # endpoint id -> place
        self._of: dict[str, set[str]] = {}  # container id -> endpoint ids
        self._shares: dict[str, Limits] = {}  # container id -> what of all limits is its
        self._host: tuple[float, list[IPNetwork]] = (float("-inf"), [])

    # -- places --------------------------------------------------------------------------------------------------------

    def join(
        self, cid: str, rules: Sequence[str] | None, network: NetworkConfig, endpoint: Endpoint, undo: Undo
    ) -> None:
        """A container is about to get a link in a network. Raises InvalidArgument, Unavailable; nothing is left then,
        nor after `undo`."""
        if not endpoint.veth:
            return
        undo.push(self.leave, endpoint.id)
        self._add(cid, rules, network, endpoint)
        if self._concerned(cid):
            self._apply(cid)

    def leave(self, endpoint_id: str) -> None:
        """The link of an endpoint is gone; idempotent."""
        place = self._places.get(endpoint_id)
        if place is None:
            return
        concerned = self._concerned(place.cid)
        del self._places[endpoint_id]
        mine = self._of[place.cid]
        mine.discard(endpoint_id)
        if not mine:
            del self._of[place.cid]
            self._lists.pop(place.cid, None)
            self.denials.forget(place.cid)
        if concerned:
            try:
                self._apply(place.cid)
            except CortenError:  # too many rules are not too few
                _LOG.exception("rules of an ended container could not be removed", extra={"container": place.cid})

    def recover(self, living: Iterable[ContainerEndpoints | None]) -> None:
        """After a restart: what living containers have is limited as before. Raises CortenError, OSError."""
        for record in filter(None, living):
            for endpoint in record.endpoints:
                network = self._registry.get(endpoint.network)
                if endpoint.veth and network is not None:
                    self._add(record.container, record.egress, network, endpoint)
        shares = {cid: self._share(cid) for cid in self._of}
        self._shares = {cid: share for cid, share in shares.items() if share != NO_LIMITS}
        limits = NO_LIMITS
        for share in self._shares.values():
            limits = limits.joined(share)
        self.firewall.adopt(limits)
        if limits.lists:
            self._listen()
            self.firewall.replace(limits, log_group=self.denials.group)
        else:
            self.firewall.uninstall()

    def _add(self, cid: str, rules: Sequence[str] | None, network: NetworkConfig, endpoint: Endpoint) -> None:
        addresses = [a for version in (4, 6) if (a := endpoint.address(version)) is not None]
        if rules is not None:
            self._lists[cid] = _parsed(tuple(rules))
        self._places[endpoint.id] = _Place(cid, network, endpoint.veth, endpoint.mac, tuple(addresses))
        self._of.setdefault(cid, set()).add(endpoint.id)

    def _of_container(self, cid: str) -> list[_Place]:
        return [self._places[endpoint_id] for endpoint_id in sorted(self._of.get(cid, ()))]

    def _concerned(self, cid: str) -> bool:
        return cid in self._lists or any(network_list(p.network) is not None for p in self._of_container(cid))

    def _apply(self, cid: str) -> None:
        """Change the rules to what a container's places are now."""
        share = self._share(cid)
        gone, added = difference(
            self._shares.get(cid, NO_LIMITS), share, [known for other, known in self._shares.items() if other != cid]
        )
        self._listen()
        self.firewall.change(gone, added, log_group=self.denials.group)
        if share == NO_LIMITS:
            self._shares.pop(cid, None)
        else:
            self._shares[cid] = share

    def _listen(self) -> None:
        """Once something is limited: watch the rules, and hear what they reject."""
        if not self._watching:
            self._watch.start()
            self._watching = True
            self.denials.listen()

    def _share(self, cid: str) -> Limits:
        """What is limited for a container."""
        places = self._of_container(cid)
        if not self._concerned(cid):
            return NO_LIMITS
        lists = {_network_key(p.network): listed for p in places if (listed := network_list(p.network)) is not None}
        bridges = {host_link(p.network): key for p in places if (key := _network_key(p.network)) in lists}
        addresses = tuple(address for place in places for address in place.addresses)
        sources: dict[IPAddress, str] = {}
        if cid in self._lists:
            lists[_container_key(cid)] = self._lists[cid]
            sources = dict.fromkeys(addresses, _container_key(cid))
        return Limits(
            lists=lists,
            sources=sources,
            bridges=bridges,
            own=frozenset(host_link(place.network) for place in places),
            ports=frozenset(_port(place, addresses) for place in places),
        )

    # -- names ---------------------------------------------------------------------------------------------------------

    def names_limited(self, cid: str) -> bool:
        """Whether some list has a say in what a container may resolve."""
        return self._concerned(cid)

    def lists_with(self, cid: str, name: str) -> Listed | None:
        """The lists that have a name, none: it is not to be asked for. None: no list has a say."""
        networks = {p.network.id: (p.network, network_list(p.network)) for p in self._of_container(cid)}
        by_networks = [
            (_network_key(network), ports)
            for network, listed in networks.values()
            if listed is not None
            for ports in listed.ports_of_name(name)
        ]
        unlimited = any(listed is None for _network, listed in networks.values())
        if cid not in self._lists:
            return None if unlimited and not by_networks else by_networks
        own = [(_container_key(cid), ports) for ports in self._lists[cid].ports_of_name(name)]
        return [*own, *by_networks] if own and (by_networks or unlimited) else []

    def admit(self, name: str, found: Listed, addresses: Sequence[IPAddress], ttl_s: int) -> list[IPAddress]:
        """Let packets to the addresses of a listed name through; returns those that the container may be told.
        Raises Unavailable."""
        limits = self.firewall.limits.lists
        ranges = EgressList((), tuple(r for key, _ports in found if key in limits for r in limits[key].ranges))
        told = believable(addresses, ranges, self._own_networks())
        wanted = [address for address in told if not ranges.covers(address)]
        let: set[IPAddress] = set()
        for key, ports in found:
            if key in limits:
                let.update(self.firewall.admit(key, ports, name, wanted, ttl_s))
        return [address for address in told if address in let or ranges.covers(address)]

    def _own_networks(self) -> list[IPNetwork]:
        """Container networks and the host's own addresses."""
        known_s, addresses = self._host
        now = time.monotonic()
        if now - known_s > _HOST_ADDRESSES_S:
            cidrs = [cidr for _index, cidr in rtnetlink.list_addresses(self._netlink)]
            addresses = [ipaddress.ip_network(ipaddress.ip_interface(cidr).ip) for cidr in cidrs]
            self._host = (now, addresses)
        networks = [subnet.network() for network in self._registry.all() for subnet in network.subnets]
        return [*networks, *addresses]

    def _whose(self, source: IPAddress, destination: IPAddress) -> tuple[str, str]:
        """The container with a source address, "" for none, and the name that a destination was admitted for."""
        place = next((p for p in self._places.values() if source in p.addresses), None)
        if place is None:
            return "", ""
        keys = (_container_key(place.cid), _network_key(place.network))
        return place.cid, next((name for key in keys if (name := self.firewall.name_of(key, destination))), "")

    # -- life ----------------------------------------------------------------------------------------------------------

    def uninstall(self) -> None:
        """Remove all rules. Raises Unavailable."""
        self.firewall.uninstall()

    def close(self) -> None:
        """The daemon ends; the rules stay."""
        self._watch.close()
        self.denials.close()
        self.firewall.close()


def _port(place: _Place, addresses: tuple[IPAddress, ...]) -> BoundPort:
    subnets = tuple(subnet.network() for subnet in place.network.subnets)
    return BoundPort(veth=place.veth, mac=place.mac, addresses=addresses, subnets=subnets)


def _container_key(cid: str) -> str:
    return f"c-{cid[:_KEY_LENGTH]}"


def _network_key(network: NetworkConfig) -> str:
    return f"n-{network.id[:_KEY_LENGTH]}"
