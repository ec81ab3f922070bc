"""Published ports of running containers: host ports held, rules set, relays served. Daemon only, on the loop."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from corten.errors import CortenError, ResourceExhausted
from corten.network.config import ContainerEndpoints, Endpoint, NetworkConfig, PortRecord, bridge_options
from corten.network.drivers.bridge import BridgeDriver
from corten.network.firewall import Firewall
from corten.network.ipam import IPAddress
from corten.network.ports import HeldPort, PortHolder, PortRequest, port_map
from corten.network.relay import Relay
from corten.network.ruleset import PortRule
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

    def __init__(self, *, holder: PortHolder, firewall: Firewall, bridge: BridgeDriver, relay: bool) -> None:
        self._holder = holder
        self._firewall = firewall
        self._bridge = bridge
        self._relay = relay
        self._published: dict[str, _Published] = {}

    def publish(
        self, cid: str, name: str, network: NetworkConfig, endpoint: Endpoint, requests: Sequence[PortRequest]
    ) -> list[PortRecord]:
        """Publish all ports of a container or none. Raises ResourceExhausted with Docker's text."""
        item = self._published[cid] = _Published(endpoint.id)
        binding = bridge_options(network).host_binding
        if binding == "0.0.0.0":  # Docker's way to say any address, of both families
            binding = ""
        try:
            for request in requests:
                wanted = request
                if binding and request.address is None:
                    wanted = PortRequest(
                        protocol=request.protocol,
                        container_port=request.container_port,
                        address=ipaddress.ip_address(binding),
                        first=request.first,
                        last=request.last,
                    )
                item.held += self._holder.hold(wanted, endpoint.address(4) or endpoint.address(6))
            rules = port_rules(item.held, endpoint)
            self._bridge.publish(network, endpoint)
            self._firewall.publish(rules)
            item.rules = rules
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

    def adopt(self, record: ContainerEndpoints) -> None:
        """After a restart: hold the ports of a living container again. Rules are set for all at once, by the caller."""
        if not record.ports:
            return
        endpoint = next((e for e in record.endpoints if e.veth), None)
        if endpoint is None:
            return
        item = self._published[record.container] = _Published(endpoint.id)
        for port in record.ports:
            address = ipaddress.ip_address(port.host_ip)
            held = self._holder.adopt(port.protocol, port.container_port, address, port.host_port)
            if held.socket is None and port.protocol != "sctp":
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
        try:
            self._firewall.withdraw(item.rules)
        except (CortenError, OSError):
            _LOG.exception("published ports could not be withdrawn", extra={"container": cid})
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
            )
            for held in (item.held if item else ())
        ]

    def map_of(self, record: ContainerEndpoints) -> PortMap:
        """`NetworkSettings.Ports`."""
        item = self._published.get(record.container)
        return port_map(item.held if item else (), record.exposed)

    def close(self) -> None:
        """The daemon ends: relays stop, rules stay for the containers that go on."""
        for item in self._published.values():
            for relay in item.relays:
                relay.close()
            for held in item.held:
                self._holder.release(held)
        self._published.clear()

    def _serve(self, item: _Published, endpoint: Endpoint) -> None:
        """Relays for what the kernel does not translate: another family, and ::1, which has no route_localnet."""
        if not self._relay:
            return
        for held in item.held:
            target = endpoint.address(held.address.version) or endpoint.address(4) or endpoint.address(6)
            if held.socket is not None and target is not None and held.protocol != "sctp":
                item.relays.append(Relay(held.socket, target, held.container_port))


def port_rules(held: Sequence[HeldPort], endpoint: Endpoint) -> list[PortRule]:
    """The ports that the kernel translates: those whose family the endpoint has. ::1 is left to the relay."""
    rules = []
    for item in held:
        target: IPAddress | None = endpoint.address(item.address.version)
        if target is None or (item.address.version == 6 and item.address.is_loopback):
            continue
        rules.append(
            PortRule(
                protocol=item.protocol,
                host_address=item.address,
                host_port=item.port,
                target=target,
                target_port=item.container_port,
            )
        )
    return rules
