"""Relays of ports that several members of a service publish: each connection goes to one that serves. Daemon, on the
loop.

A relay belongs to the port, not to a container: it goes on, with what it relays, while any member holds the port.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from corten.network.balancing import Backend, Picker, Service
from corten.network.config import Endpoint
from corten.network.ipam import IPAddress
from corten.network.ports import HeldPort
from corten.network.relay import Relay

_Place = tuple[str, IPAddress, int]


@dataclass(slots=True)
class _Port:
    service: str
    version: int
    members: dict[str, tuple[Endpoint, int]] = field(default_factory=dict)  # endpoint id -> endpoint, port
    picker: Picker = field(default_factory=Picker)
    relay: Relay | None = None


class SharedRelays:
    """All of them; `connections` counts what was relayed to each address of a service's members."""

    def __init__(self) -> None:
        self._services: Mapping[str, Service] = {}
        self.connections: dict[tuple[str, IPAddress], int] = {}
        self._ports: dict[_Place, _Port] = {}

    def join(self, held: HeldPort, endpoint: Endpoint) -> None:
        """One more container behind a port."""
        port = self._ports.setdefault(held.place, _Port(held.service, held.address.version))
        port.members[endpoint.id] = (endpoint, held.container_port)
        if port.relay is None and held.socket is not None:
            port.relay = Relay(held.socket, lambda client: self._choose(port, client))

    def leave(self, held: HeldPort, endpoint_id: str) -> None:
        """One less. The last one takes the relay along."""
        port = self._ports.get(held.place)
        if port is None or port.members.pop(endpoint_id, None) is None or port.members:
            return
        del self._ports[held.place]
        if port.relay is not None:
            port.relay.close()

    def tell(self, services: Mapping[str, Service]) -> None:
        """Who serves now, by the services' keys."""
        self._services = services
        for port in self._ports.values():
            if port.relay is not None:
                members = services.get(port.service, Service()).members
                port.relay.keep_only({address for member in members for address in member.addresses})

    def close(self) -> None:
        """The daemon ends."""
        for port in self._ports.values():
            if port.relay is not None:
                port.relay.close()
        self._ports.clear()

    def _choose(self, port: _Port, client: str) -> tuple[IPAddress, int] | None:
        service = self._services.get(port.service, Service())
        weights = {address: member.weight for member in service.members for address in member.addresses}
        backends = []
        for endpoint, number in port.members.values():
            address = endpoint.address(port.version) or endpoint.address(4) or endpoint.address(6)
            if address in weights:
                backends.append(Backend(address=address, port=number, weight=weights[address]))
        chosen = port.picker.pick(backends, service.balance, client)
        if chosen is None:
            return None
        key = (port.service, chosen.address)
        self.connections[key] = self.connections.get(key, 0) + 1
        return chosen.address, chosen.port
