"""Containers in networks: attach at start, release at end, take back after a restart. Daemon only, on the loop.

`attach` is on the path of every start: address and MAC from memory, an adopted veth pair or one request for a new one,
one row recorded, and a packet filter transaction only for published ports. `release` gives the name and ports back at
once; the veth pair dies with its namespace, and its address is free again when it is gone: an address that moved to a
new pair while the bridge still knew the old one would lose packets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from corten.engine.events import Events
from corten.engine.networks import egress as egress_lists
from corten.engine.networks.addresses import Addresses
from corten.engine.networks.drivers import Drivers
from corten.engine.networks.endpoint_settings import (
    attached,
    check_endpoint,
    check_mac,
    choose_gateways,
    default_gateways,
    endpoint_settings,
    new_record,
)
from corten.engine.networks.joining import Joining
from corten.engine.networks.lingering import Lingering
from corten.engine.networks.prewarmed import Prewarmed
from corten.engine.networks.publishing import Publisher, published_place
from corten.engine.networks.registry import Registry
from corten.engine.networks.services import Services
from corten.engine.networks.settings import Attached, AttachRequest, Records
from corten.errors import FailedPrecondition
from corten.lib import codec
from corten.lib.undo import Undo
from corten.network.config import ContainerEndpoints, Endpoint, NetworkConfig
from corten.network.dns.directory import NameDirectory
from corten.network.ports import parse_bindings, port_map
from corten.network.service_labels import parse_labels
from corten.spec.docker.network import EndpointSettings, PortMap


class Endpoints:
    """What running containers have of networks."""

    def __init__(
        self,
        *,
        registry: Registry,
        drivers: Drivers,
        addresses: Addresses,
        publisher: Publisher,
        records: Records,
        events: Events,
        names: NameDirectory,
        services: Services,
        egress: egress_lists.Egress,
    ) -> None:
        self._registry = registry
        self._drivers = drivers
        self._addresses = addresses
        self._publisher = publisher
        self._records = records
        self._events = events
        self._names = names
        self._services = services
        self._attached: dict[str, ContainerEndpoints] = {}
        self._members: dict[str, dict[str, Endpoint]] = {}  # network id -> container id -> endpoint
        self._lingering = Lingering(
            registry=registry,
            drivers=drivers,
            bridge=drivers.bridge(),
            addresses=addresses,
            records=records,
            egress=egress,
        )
        self._prewarmed = Prewarmed(drivers=drivers, lingering=self._lingering)
        self._joining = Joining(
            drivers=drivers,
            addresses=addresses,
            lingering=self._lingering,
            prewarmed=self._prewarmed,
            records=records,
            egress=egress,
        )
        self.prewarm = self._prewarmed.make

    def of(self, cid: str) -> ContainerEndpoints | None:
        """A container's endpoints."""
        return self._attached.get(cid)

    def members(self, network_id: str) -> dict[str, tuple[str, Endpoint]]:
        """Container id -> (name, endpoint) of the running containers in a network."""
        found = self._members.get(network_id, {})
        return {cid: (self._attached[cid].name, endpoint) for cid, endpoint in found.items()}

    async def attach(self, cid: str, request: AttachRequest, pid: int) -> Attached:
        """Everything a start needs of networks, or nothing: a failure gives back what was taken."""
        self._lingering.sweep()
        if cid in self._attached:
            self.release(cid)
        if request.mode.startswith("container:"):
            self._prewarmed.leave(cid)
            return Attached()
        wanted = self._wanted(request)
        record = new_record(cid, request, [network for network, _settings in wanted])
        interfaces: list[dict[str, object]] = []
        networks = [network for network, _settings in wanted]
        with self._joining.holding(networks):
            await self._prewarmed.clear(cid, wanted)
            async with Undo() as undo:
                for network, settings in wanted:
                    endpoint, interface = await self._joining.join(record, network, settings, request, pid, undo)
                    record.endpoints.append(endpoint)
                    if interface is not None:
                        interfaces.append(interface)
                renew = not interfaces and self._prewarmed.leave(cid)
                choose_gateways(zip(record.endpoints, networks, strict=True), interfaces)
                ports = await self._publish(record, request, wanted, undo)
                self._records.put(cid, codec.encode(record))
                undo.keep()
        self._joining.settle(record)
        self._attached[cid] = record
        self._name(record)
        for endpoint in record.endpoints:
            self._members.setdefault(endpoint.network, {})[cid] = endpoint
            self._announce("connect", cid, endpoint.network)
        return attached(record, wanted, interfaces, ports, renew=renew)

    def check(self, request: AttachRequest) -> None:
        """What can be refused before a start: unknown networks, bad addresses, MACs and ports."""
        parse_bindings(request.port_bindings, request.exposed, publish_all=request.publish_all)
        check_mac(request.mac)
        parse_labels(request.labels)
        if request.mode.startswith("container:"):
            return
        for network, settings in self._wanted(request):
            check_endpoint(network, settings)
            check_mac(settings.mac_address)
            egress_lists.check_endpoint(request.egress, network, self._drivers[network.driver])

    def _wanted(self, request: AttachRequest) -> list[tuple[NetworkConfig, EndpointSettings]]:
        """The networks in the order of their interfaces: that of the mode first, then the others by name."""
        default = "bridge" if self._registry.by_name("bridge") else "none"
        mode = default if request.mode in ("", "default") else request.mode
        primary = self._registry.find(mode)
        found = {primary.id: (primary, EndpointSettings(mac_address=request.mac))}
        for name, settings in request.endpoints.items():
            network = primary if name == "default" else self._registry.find(name)
            if network.id == primary.id and not settings.mac_address and request.mac:
                settings.mac_address = request.mac
            found[network.id] = (network, settings)
        first = found.pop(primary.id)
        return [first, *sorted(found.values(), key=lambda pair: pair[0].name)]

    async def _publish(
        self,
        record: ContainerEndpoints,
        request: AttachRequest,
        wanted: list[tuple[NetworkConfig, EndpointSettings]],
        undo: Undo,
    ) -> PortMap:
        """Publish what is asked for where there is a place for it: on a bridge, else where a plugin does it."""
        record.exposed = sorted({*request.exposed, *request.port_bindings})
        ports = parse_bindings(request.port_bindings, request.exposed, publish_all=request.publish_all)
        place = published_place((e, n) for e, (n, _s) in zip(record.endpoints, wanted, strict=True))
        networks = [network for network, _settings in wanted]
        elsewhere = await self._joining.expose(record, networks, [] if place is not None else ports)
        if place is not None and ports:
            endpoint, network = place
            record.ports = self._publisher.publish(record, network, endpoint, ports)
            undo.push(self._publisher.withdraw, record.container)
        if any(endpoint.veth for endpoint in record.endpoints):
            return self._publisher.map_of(record)
        return port_map(elsewhere, record.exposed) if elsewhere else {}

    def release(self, cid: str) -> None:
        """The container ended, or its prepared sandbox is given up: records, ports and names go at once."""
        self._prewarmed.forget(cid)
        record = self._attached.pop(cid, None)
        if record is None:
            return
        self._names.drop(cid)
        self._services.drop(cid)
        self._publisher.withdraw(cid)
        for endpoint in record.endpoints:
            self._members.get(endpoint.network, {}).pop(cid, None)
            self._lingering.add(endpoint)
            self._announce("disconnect", cid, endpoint.network)
        self._records.delete(cid)  # last, since it may fail: the next daemon deletes records of ended containers

    async def add(
        self, cid: str, network: NetworkConfig, settings: EndpointSettings, request: AttachRequest, pid: int
    ) -> dict[str, object]:
        """One more network for a running container; returns the interface, which is not configured yet."""
        known = self._attached.get(cid)
        record = known or new_record(cid, request, [])
        with self._joining.holding([network]):
            async with Undo() as undo:
                endpoint, interface = await self._joining.join(record, network, settings, request, pid, undo)
                if interface is None:
                    raise FailedPrecondition(f"network {network.name} has no interfaces")
                if self._attached.get(cid) is not known:
                    raise FailedPrecondition(f"container {request.name} ended or changed its networks meanwhile")
                updated = codec.decode(ContainerEndpoints, codec.encode(record))
                updated.endpoints.append(endpoint)
                updated.resolver = updated.resolver or not network.predefined
                for key, (name, gateway) in default_gateways(self._places(updated)).items():
                    if name == endpoint.ifname:
                        interface[key] = gateway
                self._records.put(cid, codec.encode(updated))
                undo.keep()
        self._joining.settle(updated)
        self._attached[cid] = updated
        self._name(updated)
        self._members.setdefault(network.id, {})[cid] = endpoint
        self._announce("connect", cid, network.id)
        return interface

    async def drop(self, cid: str, network: NetworkConfig) -> None:
        """Take a running container out of a network: its interface goes now, or else its address waits until it has."""
        record = self._attached[cid]
        endpoint = self._members[network.id].pop(cid)
        record.endpoints = [e for e in record.endpoints if e.id != endpoint.id]
        self._name(record)
        self._publisher.withdraw_endpoint(cid, endpoint)
        self._lingering.add(endpoint)
        record.ports = self._publisher.records_of(cid)
        self._announce("disconnect", cid, network.id)
        try:
            self._records.put(cid, codec.encode(record))
        finally:
            await self._lingering.end(endpoint)

    def gateways(self, cid: str) -> dict[str, tuple[str, str]]:
        """The default gateways of a running container, see `default_gateways`."""
        return default_gateways(self._places(self._attached[cid])) if cid in self._attached else {}

    def settings_of(self, cid: str, network: NetworkConfig, asked: EndpointSettings) -> EndpointSettings:
        """What inspect shows of a running container's place in a network."""
        endpoint = self._members.get(network.id, {}).get(cid)
        return endpoint_settings(endpoint, asked) if endpoint is not None else asked

    def recover(self, living: Mapping[str, int]) -> None:
        """Take back what living containers have; records of others are dropped."""
        found = {cid: codec.decode(ContainerEndpoints, value) for cid, value in self._records.list()}
        own = {endpoint.id for cid in found if cid in living for endpoint in found[cid].endpoints}
        for cid, record in found.items():
            if cid not in living:
                self._records.delete(cid)
                self._leave([endpoint for endpoint in record.endpoints if endpoint.id not in own])
                continue
            self._attached[cid] = record
            for endpoint, network in self._places(record):
                self._members.setdefault(network.id, {})[cid] = endpoint
                for cidr in (endpoint.ipv4, endpoint.ipv6):
                    if cidr:
                        self._registry.retake(network, cidr)
            self._name(record)
            place = published_place(self._places(record)) if record.ports else None
            if place is not None:
                self._publisher.adopt(record, place[0])

    def _leave(self, endpoints: Sequence[Endpoint]) -> None:
        """Of containers that ended while no daemon ran, or whose start it did not live to see: plugins are told."""
        for endpoint in endpoints:
            network = self._registry.get(endpoint.network)
            if network is not None and (self._drivers[network.driver].remote or self._addresses.remote(network)):
                for cidr in filter(None, (endpoint.ipv4, endpoint.ipv6)):
                    self._registry.retake(network, cidr)
                self._lingering.add(endpoint)

    def living(self) -> list[Endpoint]:
        """All endpoints of running containers."""
        return [endpoint for members in self._members.values() for endpoint in members.values()]

    def joining(self, network_id: str) -> bool:
        """Whether a container is about to be in this network."""
        return self._joining.under_way(network_id)

    def _places(self, record: ContainerEndpoints) -> list[tuple[Endpoint, NetworkConfig]]:
        return [(e, network) for e in record.endpoints if (network := self._registry.get(e.network)) is not None]

    def _name(self, record: ContainerEndpoints) -> None:
        """Tell the name server and services of a container's networks as they are now."""
        self._names.put(record, self._places(record))
        self._services.put(record, self._places(record))

    def set_health(self, cid: str, status: str) -> None:
        """What its health check says from now on; the next daemon begins with it."""
        record = self._attached.get(cid)
        if record is None:
            return
        record.health = status
        self._records.put(cid, codec.encode(record))
        self._names.set_health(cid, status)
        self._services.health_changed()

    def rename(self, cid: str, name: str) -> None:
        """It is called otherwise now; its aliases, id and host name stay."""
        record = self._attached.get(cid)
        if record is None:
            return
        for endpoint in record.endpoints:
            endpoint.dns_names = [name if known == record.name else known for known in endpoint.dns_names]
        record.name = name
        self._records.put(cid, codec.encode(record))
        self._name(record)

    def with_resolver(self) -> list[str]:
        """Who is served by the embedded name server."""
        return [cid for cid, record in self._attached.items() if record.resolver]

    def veths(self) -> set[str]:
        """The host's ends of all endpoints."""
        return {endpoint.veth for record in self._attached.values() for endpoint in record.endpoints if endpoint.veth}

    async def collect(self) -> None:
        """Delete what lingers and free its addresses. Slow: not on the path of a start."""
        await self._lingering.collect()

    def lingering(self) -> int:
        """How many links wait for their end."""
        return self._lingering.count()

    def _announce(self, action: str, cid: str, network_id: str) -> None:
        network = self._registry.get(network_id)
        if network is not None:
            attributes = {"container": cid, "name": network.name, "type": network.driver}
            self._events.publish("network", action, network_id, attributes)
