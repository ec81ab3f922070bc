"""Containers in networks: attach at start, release at end, take back after a restart. Daemon only, on the loop.

`attach` is on the path of every start: address and MAC from memory, an adopted veth pair or one request for a new one,
one row recorded, and a packet filter transaction only for published ports. `release` gives the name and ports back at
once; the veth pair dies with its namespace, and its address is free again when it is gone: an address that moved to a
new pair while the bridge still knew the old one would lose packets.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

from corten.engine.events import Events
from corten.engine.networks import egress as egress_lists
from corten.engine.networks.endpoint_settings import (
    attached,
    check_endpoint,
    check_mac,
    choose_gateways,
    default_gateways,
    endpoint_settings,
    endpoint_sysctls,
    interface_name,
    name_endpoint,
    new_record,
)
from corten.engine.networks.lingering import Lingering, detach_logged
from corten.engine.networks.publishing import Publisher, published_place
from corten.engine.networks.registry import Registry, new_id
from corten.engine.networks.services import Services
from corten.engine.networks.settings import Attached, AttachRequest, Records
from corten.errors import CortenError, FailedPrecondition, ResourceExhausted
from corten.lib import codec
from corten.network.config import ContainerEndpoints, Endpoint, NetworkConfig
from corten.network.dns.directory import NameDirectory
from corten.network.driver import NetworkDriver
from corten.network.drivers.bridge import BridgeDriver, link_exists, veth_name
from corten.network.ipam import mac_of, parse_interface
from corten.network.ports import parse_bindings
from corten.network.service_labels import parse_labels
from corten.spec.docker.network import EndpointSettings


class Endpoints:
    """What running containers have of networks."""

    def __init__(
        self,
        *,
        registry: Registry,
        drivers: Mapping[str, NetworkDriver],
        bridge: BridgeDriver,
        publisher: Publisher,
        records: Records,
        events: Events,
        names: NameDirectory,
        services: Services,
        egress: egress_lists.Egress,
    ) -> None:
        self._registry = registry
        self._drivers = drivers
        self._bridge = bridge
        self._publisher = publisher
        self._records = records
        self._events = events
        self._names = names
        self._services = services
        self._egress = egress
        self._attached: dict[str, ContainerEndpoints] = {}
        self._members: dict[str, dict[str, Endpoint]] = {}  # network id -> container id -> endpoint
        self._prewarmed: dict[str, str] = {}  # container id -> veth
        self._lingering = Lingering(registry=registry, drivers=drivers, bridge=bridge, egress=egress)

    def of(self, cid: str) -> ContainerEndpoints | None:
        """A container's endpoints."""
        return self._attached.get(cid)

    def members(self, network_id: str) -> dict[str, tuple[str, Endpoint]]:
        """Container id -> (name, endpoint) of the running containers in a network."""
        found = self._members.get(network_id, {})
        return {cid: (self._attached[cid].name, endpoint) for cid, endpoint in found.items()}

    def prewarm(self, cid: str, pid: int, network: NetworkConfig) -> None:
        """Place an interface in a prepared sandbox; `attach` or `release` of the same id takes it from there."""
        veth = _fresh_veth(cid)
        self._bridge.prewarm(network, veth, pid)
        self._prewarmed[cid] = veth

    def attach(self, cid: str, request: AttachRequest, pid: int) -> Attached:
        """Everything a start needs of networks, or nothing: a failure gives back what was taken."""
        self._lingering.sweep()
        if cid in self._attached:
            self.release(cid)
        if request.mode.startswith("container:"):
            self._leave_prewarmed(cid)
            return Attached()
        wanted = self._wanted(request)
        record = new_record(cid, request, [network for network, _settings in wanted])
        self._clear_prewarmed(cid, wanted)
        interfaces: list[dict[str, object]] = []
        with ExitStack() as undo:
            for network, settings in wanted:
                ifname = interface_name(network, settings, record.endpoints)
                endpoint, interface = self._join(cid, network, settings, request, ifname, pid, undo)
                record.endpoints.append(endpoint)
                if interface is not None:
                    interfaces.append(interface)
            renew = not interfaces and self._leave_prewarmed(cid)
            choose_gateways(zip(record.endpoints, (n for n, _s in wanted), strict=True), interfaces)
            self._publish(record, request, wanted, undo)
            self._records.put(cid, codec.encode(record))
            undo.pop_all()
        self._attached[cid] = record
        self._name(record)
        for endpoint in record.endpoints:
            self._members.setdefault(endpoint.network, {})[cid] = endpoint
            self._announce("connect", cid, endpoint.network)
        ports = self._publisher.map_of(record) if any(e.veth for e in record.endpoints) else {}
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

    def _join(
        self,
        cid: str,
        network: NetworkConfig,
        settings: EndpointSettings,
        request: AttachRequest,
        ifname: str,
        pid: int,
        undo: ExitStack,
    ) -> tuple[Endpoint, dict[str, object] | None]:
        """One endpoint: addresses, then the link."""
        driver = self._drivers[network.driver]
        egress_lists.check_endpoint(request.egress, network, driver)
        endpoint = Endpoint(id=new_id(), network=network.id, gw_priority=settings.gw_priority)
        if not driver.addressed:
            return endpoint, driver.attach(network, endpoint, pid=pid)
        check_endpoint(network, settings)
        self._addresses(network, endpoint, settings, undo)
        endpoint.ifname = ifname
        if driver is self._bridge:
            endpoint.veth = self._prewarmed.pop(cid, "") or _fresh_veth(cid)
        if not network.predefined:
            name_endpoint(endpoint, cid, settings, request, self._attached.get(cid))
        self._egress.join(cid, request.egress, network, endpoint, undo)
        undo.callback(detach_logged, driver, endpoint)
        interface = driver.attach(network, endpoint, pid=pid)
        if interface is not None:
            interface["sysctls"].update(endpoint_sysctls(settings))
        return endpoint, interface

    def _addresses(
        self, network: NetworkConfig, endpoint: Endpoint, settings: EndpointSettings, undo: ExitStack
    ) -> None:
        asked = settings.ipam_config
        for version in (4, 6):
            wanted = "" if asked is None else asked.ipv4_address if version == 4 else asked.ipv6_address
            enabled = network.enable_ipv4 if version == 4 else network.enable_ipv6
            if not enabled and not wanted:
                continue
            cidr = self._allocate(network, version, wanted)
            if not cidr:
                continue
            undo.callback(self._registry.free, network.id, cidr)
            gateway = self._drivers[network.driver].gateway(network, parse_interface(cidr).ip)
            if version == 4:
                endpoint.ipv4, endpoint.gateway = cidr, gateway
            else:
                endpoint.ipv6, endpoint.gateway6 = cidr, gateway
        address = endpoint.address(4) or endpoint.address(6)
        if address is None:
            raise ResourceExhausted(f"network {network.name} has no subnet to take an address from")
        natural = mac_of(address)
        endpoint.mac = check_mac(settings.mac_address) or natural
        if endpoint.mac != natural and network.driver == self._bridge.name:
            self._bridge.forget_neighbour(network, str(address))

    def _allocate(self, network: NetworkConfig, version: int, wanted: str) -> str:
        """An address; when there is none, what lingers is cleared away first."""
        try:
            return self._registry.allocate(network, version, wanted)
        except CortenError:
            if not self._lingering.holds(network.id):
                raise
            self._lingering.collect()
            return self._registry.allocate(network, version, wanted)

    def _publish(
        self,
        record: ContainerEndpoints,
        request: AttachRequest,
        wanted: list[tuple[NetworkConfig, EndpointSettings]],
        undo: ExitStack,
    ) -> None:
        """Publish what is asked for, if there is a place for it."""
        record.exposed = sorted({*request.exposed, *request.port_bindings})
        ports = parse_bindings(request.port_bindings, request.exposed, publish_all=request.publish_all)
        if not ports:
            return
        place = published_place((e, n) for e, (n, _s) in zip(record.endpoints, wanted, strict=True))
        if place is None:
            return
        endpoint, network = place
        record.ports = self._publisher.publish(record, network, endpoint, ports)
        undo.callback(self._publisher.withdraw, record.container)

    def release(self, cid: str) -> None:
        """The container ended, or its prepared sandbox is given up: records, ports and names go at once."""
        veth = self._prewarmed.pop(cid, "")
        if veth:
            self._bridge.forget_prewarmed(veth)
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

    def add(
        self, cid: str, network: NetworkConfig, settings: EndpointSettings, request: AttachRequest, pid: int
    ) -> dict[str, object]:
        """One more network for a running container; returns the interface, which is not configured yet."""
        record = self._attached.get(cid) or new_record(cid, request, [])
        ifname = interface_name(network, settings, record.endpoints)
        with ExitStack() as undo:
            endpoint, interface = self._join(cid, network, settings, request, ifname, pid, undo)
            if interface is None:
                raise FailedPrecondition(f"network {network.name} has no interfaces")
            updated = codec.decode(ContainerEndpoints, codec.encode(record))
            updated.endpoints.append(endpoint)
            updated.resolver = updated.resolver or not network.predefined
            for key, (name, gateway) in default_gateways(self._places(updated)).items():
                if name == ifname:
                    interface[key] = gateway
            self._records.put(cid, codec.encode(updated))
            undo.pop_all()
        self._attached[cid] = updated
        self._name(updated)
        self._members.setdefault(network.id, {})[cid] = endpoint
        self._announce("connect", cid, network.id)
        return interface

    def drop(self, cid: str, network: NetworkConfig) -> None:
        """Take a running container out of a network: its interface goes now, or else its address waits until it has."""
        record = self._attached[cid]
        endpoint = self._members[network.id].pop(cid)
        record.endpoints = [e for e in record.endpoints if e.id != endpoint.id]
        self._name(record)
        self._publisher.withdraw_endpoint(cid, endpoint)
        record.ports = self._publisher.records_of(cid)
        self._announce("disconnect", cid, network.id)
        try:
            self._records.put(cid, codec.encode(record))
        finally:
            self._lingering.end(endpoint)

    def gateways(self, cid: str) -> dict[str, tuple[str, str]]:
        """The default gateways of a running container, see `default_gateways`."""
        return default_gateways(self._places(self._attached[cid])) if cid in self._attached else {}

    def settings_of(self, cid: str, network: NetworkConfig, asked: EndpointSettings) -> EndpointSettings:
        """What inspect shows of a running container's place in a network."""
        endpoint = self._members.get(network.id, {}).get(cid)
        return endpoint_settings(endpoint, asked) if endpoint is not None else asked

    def recover(self, living: Mapping[str, int]) -> None:
        """Take back what living containers have; records of others are dropped."""
        for cid, value in list(self._records.list()):
            record = codec.decode(ContainerEndpoints, value)
            if cid not in living:
                self._records.delete(cid)
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

    def collect(self) -> None:
        """Delete what lingers and free its addresses. Slow: not on the path of a start."""
        self._lingering.collect()

    def lingering(self) -> int:
        """How many links wait for their end."""
        return self._lingering.count()

    def _leave_prewarmed(self, cid: str) -> bool:
        """This container wants no interface. If one was prepared, it goes with the namespace that init leaves behind:
        to delete it here would cost the start twenty milliseconds, to make another namespace costs it one."""
        veth = self._prewarmed.pop(cid, "")
        if veth:
            self._bridge.forget_prewarmed(veth)
            self._lingering.add(Endpoint(id=veth, network="", veth=veth))
        return bool(veth)

    def _clear_prewarmed(self, cid: str, wanted: list[tuple[NetworkConfig, EndpointSettings]]) -> None:
        """Give up a prepared interface whose present name another one may take: that of another driver, which comes
        first, or a further one, while the first is to be called otherwise."""
        veth = self._prewarmed.get(cid, "")
        first, settings = wanted[0]
        if first.driver == self._bridge.name:
            taken = len(wanted) > 1 and interface_name(first, settings, []) != self._bridge.prewarmed_name(veth)
        else:
            taken = self._drivers[first.driver].addressed
        if veth and taken:
            del self._prewarmed[cid]
            self._bridge.forget_prewarmed(veth)
            self._bridge.delete_links([veth])

    def _announce(self, action: str, cid: str, network_id: str) -> None:
        network = self._registry.get(network_id)
        if network is not None:
            about = {"container": cid, "name": network.name, "type": network.driver}
            self._events.publish("network", action, network_id, about)


def _fresh_veth(cid: str) -> str:
    """A name that no link has: a container that is started again may wait for the end of its last pair."""
    names = (veth_name(cid, number) for number in range(256))
    return next(name for name in names if not link_exists(name))
