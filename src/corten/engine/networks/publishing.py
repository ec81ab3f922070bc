"""Published ports of running containers: host ports held, rules set, relays served. Daemon only, on the loop."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

from corten.engine.networks.drivers import Drivers
from corten.engine.networks.settings import NetworkSettings
from corten.engine.networks.shared_relays import SharedRelays
from corten.errors import CortenError, FailedPrecondition, ResourceExhausted
from corten.lib import blocking
from corten.network.config import (
    DRIVERS_WITH_BRIDGES,
    BridgeOptions,
    ContainerEndpoints,
    Endpoint,
    GatewayMode,
    NetworkConfig,
    PortRecord,
    bridge_options,
)
from corten.network.conntrack import forget_udp_flows
from corten.network.firewall import Firewall
from corten.network.ipam import IPAddress, parse_address
from corten.network.ports import ANY4, ANY6, LOOPBACK, HeldPort, PortHolder, PortRequest, PublishPolicy, port_map
from corten.network.relay import Relay, always
from corten.network.ruleset import PortRule, Relaying
from corten.network.service_labels import parse_labels, service_key
from corten.spec.docker.network import PortMap

_LOG = logging.getLogger("corten.network")


@dataclass(slots=True)
class _Published:
    endpoint: str
    held: list[HeldPort] = field(default_factory=list)
    rules: list[PortRule] = field(default_factory=list)
    relays: list[Relay] = field(default_factory=list)


class Publisher:
    """What is published, by container."""

    def __init__(
        self, *, holder: PortHolder, firewall: Firewall, drivers: Drivers, policy: PublishPolicy, relay: bool
    ) -> None:
        self._holder = holder
        self._firewall = firewall
        self._drivers = drivers
        self._policy = policy
        self._relay = relay or policy is PublishPolicy.HOST_FIREWALL
        self._published: dict[str, _Published] = {}
        self.shared = SharedRelays()
        self._forgetting: set[asyncio.Task[None]] = set()

    def publish(
        self, record: ContainerEndpoints, network: NetworkConfig, endpoint: Endpoint, requests: Sequence[PortRequest]
    ) -> list[PortRecord]:
        """Publish all ports of a container or none; members of a service may share them. Raises ResourceExhausted with
        Docker's text."""
        cid, name, service = record.container, record.name, parse_labels(record.labels).name
        item = self._published[cid] = _Published(endpoint.id)
        options = bridge_options(network)
        # 0.0.0.0 is Docker's way to say any address, of both families
        binding = ipaddress.ip_address(options.host_binding or "0.0.0.0")
        bound, routed = _families(options, endpoint)
        try:
            for request in requests:
                self._check(network, request, routed)
                wanted = request
                if not binding.is_unspecified and request.address is None:
                    wanted = replace(request, address=binding)
                if service and request.first and request.first == request.last:
                    wanted = replace(wanted, service=service_key(network.id, service))
                target = endpoint.address(4) or endpoint.address(6)
                item.held += self._holder.hold(wanted, target, families=bound)
                item.held += [_routed_port(request, version) for version in routed]
            rules = port_rules(item.held, endpoint)
            self._drivers.bridge(network.driver).publish(network, endpoint)
            self._firewall.publish(rules)
            item.rules = rules
            self._forget_flows(item)
            self._serve(item, endpoint)
        except ResourceExhausted as error:
            self.withdraw(cid)
            text = (
                f"driver failed programming external connectivity on endpoint {name} ({endpoint.id}): {error.message}"
            )
            raise ResourceExhausted(text) from error
        except BaseException:
            self.withdraw(cid)
            raise
        return self.records_of(cid)

    def adopt(self, record: ContainerEndpoints, endpoint: Endpoint) -> None:
        """After a restart: hold the ports of a living container again, which lead to this endpoint of its. Rules are
        set for all at once, by the caller."""
        item = self._published[record.container] = _Published(endpoint.id)
        for port in record.ports:
            held = self._holder.adopt(
                HeldPort(
                    protocol=port.protocol,
                    container_port=port.container_port,
                    address=ipaddress.ip_address(port.host_ip),
                    port=port.host_port,
                    socket=None,
                    sources=tuple(map(ipaddress.ip_network, port.sources)),
                    service=port.service,
                )
            )
            if held.socket is None and held.port and port.protocol != "sctp":
                _LOG.warning("a published port is used by another process", extra={"port": port.host_port})
            item.held.append(held)
        item.rules = port_rules(item.held, endpoint)
        self._serve(item, endpoint)

    def withdraw(self, cid: str) -> None:
        """Unpublish all of a container; what fails is logged: it must not keep a container from ending."""
        item = self._published.pop(cid, None)
        if item is None:
            return
        for relay in item.relays:
            relay.close()
        for held in item.held:
            if held.service:
                self.shared.leave(held, item.endpoint)
        try:
            self._firewall.withdraw(item.rules)
        except (CortenError, OSError):
            _LOG.exception("published ports could not be withdrawn", extra={"container": cid})
        self._forget_flows(item)
        for held in item.held:
            self._holder.release(held)

    def withdraw_endpoint(self, cid: str, endpoint: Endpoint) -> None:
        """Unpublish what leads to this endpoint."""
        item = self._published.get(cid)
        if item is not None and item.endpoint == endpoint.id:
            self.withdraw(cid)

    def rules(self) -> list[PortRule]:
        """All translated ports, for the whole ruleset."""
        return [rule for item in self._published.values() for rule in item.rules]

    def records_of(self, cid: str) -> list[PortRecord]:
        """What is recorded of a container's ports."""
        item = self._published.get(cid)
        return [
            PortRecord(
                protocol=held.protocol,
                container_port=held.container_port,
                host_ip=str(held.address),
                host_port=held.port,
                sources=[str(source) for source in held.sources],
                service=held.service,
            )
            for held in (item.held if item else ())
        ]

    def shared_by(self, service: str) -> list[HeldPort]:
        """The ports that members of a service share, one for each member that has it."""
        return [held for item in self._published.values() for held in item.held if held.service == service]

    def map_of(self, record: ContainerEndpoints) -> PortMap:
        """`NetworkSettings.Ports`."""
        item = self._published.get(record.container)
        return port_map(item.held if item else (), record.exposed)

    def close(self) -> None:
        """The daemon ends: relays stop, rules stay for the containers that go on."""
        self.shared.close()
        for item in self._published.values():
            for relay in item.relays:
                relay.close()
            for held in item.held:
                self._holder.release(held)
        self._published.clear()

    def _check(self, network: NetworkConfig, request: PortRequest, routed: Sequence[int]) -> None:
        """What can not be published as it is asked. Raises FailedPrecondition."""
        port = f"{request.container_port}/{request.protocol}"
        if request.sources and routed:
            raise FailedPrecondition(
                f"port {port} cannot have a source list: network {network.name} is routed, nothing is translated there"
            )
        if request.protocol == "sctp" and self._policy is PublishPolicy.HOST_FIREWALL:
            raise FailedPrecondition(
                f"port {port} cannot be published: SCTP is not relayed, as publish.policy host-firewall wants it"
            )

    def _forget_flows(self, item: _Published) -> None:
        """UDP flows to these ports begin anew. Off the loop: the table of flows is as long as containers make it. A
        port that others share is theirs: who serves it no longer is forgotten by `services`."""
        ports = (held for held in item.held if held.protocol == "udp" and held.port)
        targets = {(held.address, held.port) for held in ports if not self._holder.is_shared(held)}
        if targets:
            task = asyncio.get_running_loop().create_task(blocking.run(_forget_flows, targets, pool="netns"))
            self._forgetting.add(task)
            task.add_done_callback(self._forgetting.discard)

    async def settled(self) -> None:
        """UDP clients of what was published find it now."""
        if self._forgetting:
            await asyncio.wait(self._forgetting)

    def _serve(self, item: _Published, endpoint: Endpoint) -> None:
        """Relays for what the kernel does not translate: another family, and ::1, which has no route_localnet."""
        if not self._relay:
            return
        for held in item.held:
            target = endpoint.address(held.address.version) or endpoint.address(4) or endpoint.address(6)
            if held.socket is None or target is None or held.protocol == "sctp":
                continue
            if held.service:
                self.shared.join(held, endpoint)
            else:
                item.relays.append(Relay(held.socket, always(target, held.container_port)))


def open_publisher(settings: NetworkSettings, firewall: Firewall, drivers: Drivers) -> Publisher:
    """As the daemon's settings say who may reach what is published."""
    policy = settings.publish_policy
    return Publisher(
        holder=PortHolder(default_addresses=default_addresses(policy, settings.default_ip)),
        firewall=firewall,
        drivers=drivers,
        policy=policy,
        relay=settings.userland_proxy,
    )


def published_place(places: Iterable[tuple[Endpoint, NetworkConfig]]) -> tuple[Endpoint, NetworkConfig] | None:
    """Where a container's published ports lead: its first endpoint on a bridge that is not internal. None: its ports
    are discarded, as Docker does with host, none and internal networks."""
    return next(((e, n) for e, n in places if n.driver in DRIVERS_WITH_BRIDGES and not n.internal), None)


def _forget_flows(targets: Collection[tuple[IPAddress, int]]) -> None:
    """One that could not be forgotten ends when its client falls silent."""
    try:
        forget_udp_flows(targets)
    except OSError:
        _LOG.warning("tracked UDP flows to published ports could not be forgotten", exc_info=True)


def port_rules(held: Sequence[HeldPort], endpoint: Endpoint) -> list[PortRule]:
    """The ports that the kernel translates, or whose sources it checks: ::1 and families that the endpoint has not
    are left to the relay."""
    rules = []
    for item in held:
        target: IPAddress | None = endpoint.address(item.address.version)
        if item.address.version == 6 and item.address.is_loopback:
            continue
        if target is None and not item.sources:
            continue
        rules.append(
            PortRule(
                protocol=item.protocol,
                host_address=item.address,
                host_port=item.port,
                target=target,
                target_port=item.container_port,
                sources=tuple(s for s in item.sources if s.version == item.address.version) if item.sources else None,
                service=item.service,
            )
        )
    return rules


def default_addresses(policy: PublishPolicy, default_ip: str) -> tuple[IPAddress, ...]:
    """Where a port is published that names no address; empty for all addresses. `default_ip` is --ip."""
    address = parse_address(default_ip) if default_ip else None
    if address is not None and not address.is_unspecified:
        return (address,)
    return LOOPBACK if policy is PublishPolicy.LOOPBACK else ()


def relaying(policy: PublishPolicy, *, userland_proxy: bool) -> Relaying:
    """What the kernel does not translate, because it is relayed."""
    return Relaying(outside=policy is PublishPolicy.HOST_FIREWALL, closed_bridges=userland_proxy)


def _families(options: BridgeOptions, endpoint: Endpoint) -> tuple[list[int], list[int]]:
    """The IP versions of host addresses whose ports are held, and those in which the container is routed to.

    A family that the endpoint has not is relayed to the other one, unless that is not to be reached by host ports.
    """
    present = [version for version in (4, 6) if endpoint.address(version) is not None]
    routed = [version for version in present if options.gateway_mode(version) is GatewayMode.ROUTED]
    relayed = len(routed) < len(present)
    return [version for version in (4, 6) if version not in routed and (version in present or relayed)], routed


def _routed_port(request: PortRequest, version: int) -> HeldPort:
    return HeldPort(
        protocol=request.protocol,
        container_port=request.container_port,
        address=ANY4 if version == 4 else ANY6,
        port=0,
        socket=None,
    )
