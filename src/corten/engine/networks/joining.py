"""How a container gets its place in one network: addresses, then the link. Daemon only, on the loop.

With the built-in drivers and addresses nothing is waited for. With a plugin's, the endpoint is recorded before the
plugin is asked: what another program knows of, the next daemon must know of when this one is killed meanwhile.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from corten.engine.networks import egress as egress_lists
from corten.engine.networks.addresses import NOBODY, Addresses
from corten.engine.networks.busy import when_free
from corten.engine.networks.drivers import Drivers
from corten.engine.networks.endpoint_settings import (
    check_endpoint,
    check_mac,
    endpoint_sysctls,
    interface_name,
    name_endpoint,
)
from corten.engine.networks.lingering import Lingering, detach_logged
from corten.engine.networks.prewarmed import Prewarmed, fresh_veth
from corten.engine.networks.registry import new_id
from corten.engine.networks.settings import AttachRequest, Records
from corten.errors import CortenError, ResourceExhausted
from corten.lib import codec
from corten.lib.undo import Undo
from corten.network.config import ContainerEndpoints, Endpoint, NetworkConfig
from corten.network.drivers.bridge import BridgeDriver
from corten.network.ipam import mac_of, parse_interface, random_mac
from corten.network.plugins.network import PluginDriver
from corten.network.ports import HeldPort, PortRequest
from corten.spec.docker.network import EndpointSettings


class Joining:
    """Makes endpoints; what it makes is undone by the caller's `undo`."""

    def __init__(
        self,
        *,
        drivers: Drivers,
        addresses: Addresses,
        lingering: Lingering,
        prewarmed: Prewarmed,
        records: Records,
        egress: egress_lists.Egress,
    ) -> None:
        self._egress = egress
        self._drivers = drivers
        self._addresses = addresses
        self._lingering = lingering
        self._prewarmed = prewarmed
        self._records = records
        self._under_way: Counter[str] = Counter()
        self._ahead: set[str] = set()  # ids of endpoints that are recorded ahead

    def under_way(self, network_id: str) -> bool:
        """Whether an endpoint of this network is being made, or soon."""
        return self._under_way[network_id] > 0

    @contextmanager
    def holding(self, networks: Iterable[NetworkConfig]) -> Iterator[None]:
        """Nobody may take these networks away meanwhile."""
        ids = [network.id for network in networks]
        self._under_way.update(ids)
        try:
            yield
        finally:
            self._under_way.subtract(ids)

    async def join(
        self,
        record: ContainerEndpoints,
        network: NetworkConfig,
        settings: EndpointSettings,
        request: AttachRequest,
        pid: int,
        undo: Undo,
    ) -> tuple[Endpoint, dict[str, object] | None]:
        """One more endpoint of a container with `record`, and the interface that init configures."""
        driver = self._drivers[network.driver]
        egress_lists.check_endpoint(request.egress, network, driver)
        endpoint = Endpoint(id=new_id(), network=network.id, gw_priority=settings.gw_priority)
        if not driver.addressed:
            return endpoint, await driver.attach(network, endpoint, pid=pid)
        check_endpoint(network, settings)
        endpoint.ifname = interface_name(network, settings, record.endpoints)
        await self._address(network, endpoint, settings, undo)
        if driver.remote or self._addresses.remote(network):
            endpoint.options = dict(settings.driver_opts or {})
            self._record_ahead(record, endpoint, undo)
        if isinstance(driver, BridgeDriver):
            warm = self._prewarmed.take(record.container) if network.driver == "bridge" else ""
            endpoint.veth = warm or fresh_veth(record.container)
        if not network.predefined:
            name_endpoint(endpoint, record, settings, request)
        self._egress.join(record.container, request.egress, network, endpoint, undo)
        undo.push(detach_logged, driver, endpoint)
        interface = await when_free(partial(driver.attach, network, endpoint, pid=pid))
        if interface is not None:
            interface["sysctls"].update(endpoint_sysctls(settings))
        return endpoint, interface

    def _record_ahead(self, record: ContainerEndpoints, endpoint: Endpoint, undo: Undo) -> None:
        """Under a key of its own, as an endpoint that a container left behind: see `Lingering`."""
        ahead = ContainerEndpoints(container=endpoint.id, name=record.name, endpoints=[endpoint])
        self._records.put(endpoint.id, codec.encode(ahead))
        self._ahead.add(endpoint.id)
        undo.push(self.settle, ahead)

    def settle(self, record: ContainerEndpoints) -> None:
        """The container's own record has these endpoints now, or they are undone."""
        for endpoint in record.endpoints:
            if endpoint.id in self._ahead:
                self._ahead.discard(endpoint.id)
                self._records.delete(endpoint.id)

    async def _address(
        self, network: NetworkConfig, endpoint: Endpoint, settings: EndpointSettings, undo: Undo
    ) -> None:
        driver = self._drivers[network.driver]
        endpoint.mac = check_mac(settings.mac_address)
        if not endpoint.mac and await self._addresses.needs_mac(network):
            endpoint.mac = random_mac()
        asked = settings.ipam_config
        for version in (4, 6):
            wanted = "" if asked is None else asked.ipv4_address if version == 4 else asked.ipv6_address
            enabled = network.enable_ipv4 if version == 4 else network.enable_ipv6
            if not enabled and not wanted:
                continue
            cidr = await self._allocate(network, version, wanted, endpoint.mac)
            if not cidr:
                continue
            undo.push(self._addresses.free, network.id, cidr)
            gateway = driver.gateway(network, parse_interface(cidr).ip)
            if version == 4:
                endpoint.ipv4, endpoint.gateway = cidr, gateway
            else:
                endpoint.ipv6, endpoint.gateway6 = cidr, gateway
        address = endpoint.address(4) or endpoint.address(6)
        if address is None and network.ipam_driver != NOBODY:
            raise ResourceExhausted(f"network {network.name} has no subnet to take an address from")
        natural = random_mac() if address is None else mac_of(address)
        if not driver.remote:  # a plugin chooses itself
            endpoint.mac = endpoint.mac or natural
        if address is not None and endpoint.mac != natural and isinstance(driver, BridgeDriver):
            driver.forget_neighbour(network, str(address))

    async def _allocate(self, network: NetworkConfig, version: int, wanted: str, mac: str) -> str:
        """An address; when there is none, what lingers is cleared away first."""
        try:
            return await self._addresses.allocate(network, version, wanted, mac)
        except CortenError:
            if not self._lingering.holds(network.id):
                raise
            await self._lingering.collect()
            return await self._addresses.allocate(network, version, wanted, mac)

    async def expose(
        self,
        record: ContainerEndpoints,
        networks: Sequence[NetworkConfig],
        ports: Sequence[PortRequest],
    ) -> list[HeldPort]:
        """Tell plugins which ports their containers expose and want published: outside of Corten's packet filter.

        Returns what they have published.
        """
        held = []
        for endpoint, network in zip(record.endpoints, networks, strict=True):
            driver = self._drivers[network.driver]
            if isinstance(driver, PluginDriver) and not network.internal:
                held += await driver.expose(endpoint, record.exposed, ports)
        return held
