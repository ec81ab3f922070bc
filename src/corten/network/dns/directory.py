"""Who is called what, in which network: what the embedded DNS server knows. In memory, on the daemon's loop; no I/O.

Each network is a zone of its own, and a container sees the zones of the networks that it is in, nothing else. A name
may stand for several containers (an alias, a compose service): all of them are members. Of those, who may be named in
an answer is said by health: `usable`. A service with an address of its own is named by that, and its members as
`tasks.name`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from corten.network.config import ContainerEndpoints, Endpoint, NetworkConfig
from corten.network.ipam import IPAddress, IPNetwork

UNCHECKED, STARTING, HEALTHY, UNHEALTHY = "", "starting", "healthy", "unhealthy"


@dataclass(slots=True, eq=False)
class Person:
    """A container: its name, its health, the ports it exposes (`80/tcp`). One that is `leaving` a service is named to
    nobody but itself."""

    cid: str
    name: str
    health: str = UNCHECKED
    leaving: bool = False
    ports: tuple[str, ...] = ()


@dataclass(slots=True, eq=False)
class Member:
    """A container in a network."""

    owner: Person
    ipv4: IPAddress | None
    ipv6: IPAddress | None
    names: tuple[str, ...]
    links: dict[str, str]  # alias -> name, for this container's own questions

    def address(self, version: int) -> IPAddress | None:
        """The address of a family."""
        return self.ipv4 if version == 4 else self.ipv6


@dataclass(slots=True, eq=False)
class Zone:
    """The names of one network."""

    name: str
    subnets: tuple[IPNetwork, ...]
    id: str = ""
    members: dict[str, Member] = field(default_factory=dict)
    names: dict[str, dict[str, Member]] = field(default_factory=dict)
    addresses: dict[IPAddress, Member] = field(default_factory=dict)

    def add(self, member: Member) -> None:
        """A container joins."""
        cid = member.owner.cid
        self.members[cid] = member
        for name in member.names:
            self.names.setdefault(name, {})[cid] = member
        for address in (member.ipv4, member.ipv6):
            if address is not None:
                self.addresses[address] = member

    def remove(self, cid: str) -> None:
        """It leaves."""
        member = self.members.pop(cid)
        for name in member.names:
            holders = self.names[name]
            del holders[cid]
            if not holders:
                del self.names[name]
        for address in (member.ipv4, member.ipv6):
            if address is not None and self.addresses.get(address) is member:
                del self.addresses[address]


def usable(asker: str, members: Sequence[Member]) -> list[Member]:
    """Those that are healthy or have no health check; as long as there is none, those that are still starting, since
    the parts of a cluster wait for each other. Never one that is unhealthy, but for the asker itself."""
    for wanted in ((UNCHECKED, HEALTHY), (STARTING,)):
        found = [m for m in members if m.owner.health in wanted and not m.owner.leaving]
        if found:
            return found
    return [m for m in members if m.owner.cid == asker]


class NameDirectory:
    """All zones."""

    def __init__(self) -> None:
        self._zones: dict[str, Zone] = {}
        self._people: dict[str, Person] = {}
        self._seen: dict[str, list[Zone]] = {}  # container id -> the zones that it sees
        self._services: dict[str, dict[str, tuple[IPAddress, ...]]] = {}  # network id -> name -> addresses
        self._outside: dict[str, bool] = {}  # whether it has a way out of one of its networks

    def put(self, record: ContainerEndpoints, networks: Iterable[tuple[Endpoint, NetworkConfig]]) -> None:
        """A container's places in networks are now these."""
        pairs = list(networks)
        known = self._people.get(record.container)
        self._leave(record.container)
        first = record.health or (STARTING if record.checked else UNCHECKED)
        person = known or Person(record.container, record.name, first)
        person.name, person.ports = record.name, tuple(record.exposed)
        self._people[record.container] = person
        zones = self._seen[record.container] = []
        self._outside[record.container] = any(
            not network.internal and (endpoint.gateway or endpoint.gateway6) for endpoint, network in pairs
        )
        for endpoint, network in pairs:
            if network.predefined:
                continue
            zone = self._zones.get(network.id)
            if zone is None:
                subnets = tuple(subnet.network() for subnet in network.subnets)
                zone = self._zones[network.id] = Zone(network.name.lower(), subnets, id=network.id)
            names = tuple(dict.fromkeys(name.lower() for name in endpoint.dns_names))
            links = dict(_link(text) for text in endpoint.links)
            zone.add(Member(person, endpoint.address(4), endpoint.address(6), names, links))
            zones.append(zone)

    def drop(self, cid: str) -> None:
        """The container has ended."""
        self._leave(cid)
        self._people.pop(cid, None)
        self._outside.pop(cid, None)

    def _leave(self, cid: str) -> None:
        for zone in self._seen.pop(cid, ()):
            zone.remove(cid)
        self._zones = {key: zone for key, zone in self._zones.items() if zone.members}

    def set_health(self, cid: str, status: str) -> None:
        """What the health check says from now on."""
        person = self._people.get(cid)
        if person is not None:
            person.health = status

    def set_services(self, network_id: str, services: dict[str, tuple[IPAddress, ...]]) -> None:
        """The services of a network that have addresses of their own, by name."""
        if services:
            self._services[network_id] = services
        else:
            self._services.pop(network_id, None)

    def person(self, cid: str) -> Person | None:
        """What is known of a running container."""
        return self._people.get(cid)

    def service(self, cid: str, name: str) -> tuple[IPAddress, ...] | None:
        """The addresses of the service that is called `name` in the networks that `cid` is in; None for no service."""
        for zone in self._seen.get(cid, ()) if self._services else ():
            here = self._services.get(zone.id, {})
            asked = zone.members[cid].links.get(name, name)
            found = here.get(asked) or here.get(asked.removesuffix(f".{zone.name}"))
            if found is not None:
                return found
        return None

    def leads_outside(self, cid: str) -> bool:
        """Whether any of a container's networks is neither internal nor without a gateway (macvlan on a dummy): else
        none of its questions leaves the engine, not by the host's own name server either."""
        return self._outside.get(cid, False)

    def find(self, cid: str, name: str) -> list[Member] | None:
        """Who is called `name` in the networks that `cid` is in, each container once; None when nobody is."""
        found: dict[str, Member] = {}
        for zone in self._seen.get(cid, ()):
            here = zone.names.get(zone.members[cid].links.get(name, name))
            if here is None and name.endswith(f".{zone.name}"):
                here = zone.names.get(name[: -len(zone.name) - 1])
            for holder, member in (here or {}).items():
                found.setdefault(holder, member)
        return list(found.values()) or None

    def at(self, cid: str, address: IPAddress) -> tuple[Member, Zone] | None:
        """Who has an address in the networks that `cid` is in."""
        for zone in self._seen.get(cid, ()):
            member = zone.addresses.get(address)
            if member is not None:
                return member, zone
        return None

    def covers(self, cid: str, address: IPAddress) -> bool:
        """Whether an address belongs to a network that `cid` is in."""
        return any(address in subnet for zone in self._seen.get(cid, ()) for subnet in zone.subnets)


def _link(text: str) -> tuple[str, str]:
    """`--link name:alias` as (alias, name)."""
    name, _colon, alias = text.partition(":")
    return (alias or name).lower(), name.lower()
