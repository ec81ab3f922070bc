"""Services as clients see them: look-up, filters, members with their connections. Daemon only, on the loop.

Connections are counted by the packet filter, on the host and in each client's namespace, and by relays; a dump of each
is the price of a list.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping

from corten.engine.networks.publishing import Publisher
from corten.engine.networks.registry import Registry
from corten.engine.networks.services import ServiceRecord, Services
from corten.errors import InvalidArgument, NotFound
from corten.network.dns.directory import NameDirectory
from corten.network.firewall import Firewall
from corten.network.ipam import IPAddress, parse_interface
from corten.network.ports import HeldPort
from corten.spec.corten.service import Service, ServiceMember, ServicePort

_LOG = logging.getLogger("corten.network")
_FILTERS = ("id", "name", "network")

_Connections = dict[tuple[str, IPAddress], int]  # by service key and member


class ServiceListing:
    """The two queries."""

    def __init__(
        self, *, services: Services, registry: Registry, names: NameDirectory, publisher: Publisher, firewall: Firewall
    ) -> None:
        self._services = services
        self._registry = registry
        self._names = names
        self._publisher = publisher
        self._firewall = firewall

    async def list_(self, filters: Mapping[str, list[str]] | None = None) -> list[Service]:
        """All services that the filters let through, by network and name. Raises InvalidArgument."""
        for name in filters or {}:
            if name not in _FILTERS:
                raise InvalidArgument(f"invalid filter '{name[:64]}'")
        connections = await self._connections()
        found = [self._view(key, record, connections) for key, record in self._services.records().items()]
        chosen = [service for service in found if _matches(service, filters or {})]
        return sorted(chosen, key=lambda service: (service.network, service.name))

    async def inspect(self, reference: str) -> Service:
        """By name, `network/name`, id or a unique beginning of it. Raises NotFound, InvalidArgument (ambiguous)."""
        everything = await self.list_()
        lowered = reference.lower()
        named = [s for s in everything if lowered in (s.name, f"{s.network.lower()}/{s.name}") or reference == s.id]
        found = named or [s for s in everything if reference and s.id.startswith(reference)]
        if not found:
            raise NotFound(f"no such service: {reference[:128]}")
        if len(found) > 1:
            names = ", ".join(f"{service.network}/{service.name}" for service in found)
            raise InvalidArgument(f"service {reference[:128]} is ambiguous: {names}")
        return found[0]

    def _view(self, key: str, record: ServiceRecord, connections: _Connections) -> Service:
        network = self._registry.get(record.network)
        members = []
        for member in self._services.members(key):
            person = self._names.person(member.cid)
            members.append(
                ServiceMember(
                    container=member.cid,
                    name=person.name if person else member.name,
                    addresses=[str(address) for address in member.addresses],
                    weight=member.labels.weight or 1,
                    state=self._services.state(key, member),
                    health=person.health if person else "",
                    connections=sum(connections.get((key, address), 0) for address in member.addresses),
                )
            )
        members.sort(key=lambda member: member.name)
        return Service(
            id=hashlib.sha256(key.encode()).hexdigest(),
            name=record.name,
            network=network.name if network else record.network,
            network_id=record.network,
            addresses=[str(parse_interface(cidr).ip) for cidr in record.addresses],
            balance=self._services.balance(key),
            holders=len(record.holders),
            ports=_ports(self._publisher.shared_by(key)),
            members=members,
            connections=sum(member.connections for member in members),
        )

    async def _connections(self) -> _Connections:
        """What each member was chosen for, of all that count."""
        counts = await self._services.maps.counts()
        try:
            for key, count in self._firewall.counts().items():
                counts[key] = counts.get(key, 0) + count
        except OSError:
            _LOG.exception("the host's connections to services are not counted")
        found = dict(self._publisher.shared.connections)
        for service, maps in self._maps().items():
            for member in self._services.members(service):
                for address in member.addresses:
                    mine = sum(c for (name, raw), c in counts.items() if name in maps and _is_at(raw, address))
                    found[service, address] = found.get((service, address), 0) + mine
        return found

    def _maps(self) -> dict[str, set[str]]:
        """The names of the maps that count for a service."""
        found: dict[str, set[str]] = {}
        for key, record in self._services.records().items():
            found[key] = {f"{kind}to-{parse_interface(cidr).ip}" for kind in ("", "udp-") for cidr in record.addresses}
            found[key] |= {
                f"port-{held.protocol}-{held.address}-{held.port}" for held in self._publisher.shared_by(key)
            }
        return found


def _is_at(raw: bytes, address: IPAddress) -> bool:
    return raw[: len(address.packed)] == address.packed and len(raw) - len(address.packed) in (0, 4)


def _ports(held: Iterable[HeldPort]) -> list[ServicePort]:
    found = {(str(item.address), item.port, item.container_port, item.protocol) for item in held}
    return [
        ServicePort(host_ip=address, published_port=port, target_port=target, protocol=protocol)
        for address, port, target, protocol in sorted(found)
    ]


def _matches(service: Service, filters: Mapping[str, list[str]]) -> bool:
    values = {
        "id": [service.id],
        "name": [service.name],
        "network": [service.network, service.network_id],
    }
    return all(
        any(
            any(value.startswith(wanted) if name == "id" else wanted in value for value in values[name])
            for wanted in asked
        )
        for name, asked in filters.items()
        if asked
    )
