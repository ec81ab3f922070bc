"""Endpoints of containers that ended: their links die with the namespace, their addresses are free after that.

A veth pair's end is seen on the host. A macvlan's or ipvlan's is not: its addresses wait for `collect`, some seconds
after the container's end. So does a plugin's endpoint, which is recorded until the plugin was told. Daemon only, on the
loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from corten.engine.networks.addresses import Addresses
from corten.engine.networks.egress import Egress
from corten.engine.networks.registry import Registry
from corten.engine.networks.settings import Records
from corten.errors import CortenError
from corten.lib import codec
from corten.network.config import ContainerEndpoints, Endpoint
from corten.network.driver import NetworkDriver
from corten.network.drivers.bridge import BridgeDriver, link_exists

_LOG = logging.getLogger("corten.network")


class Lingering:
    """What waits for its end."""

    def __init__(
        self,
        *,
        registry: Registry,
        drivers: Mapping[str, NetworkDriver],
        bridge: BridgeDriver,
        addresses: Addresses,
        records: Records,
        egress: Egress,
    ) -> None:
        self._registry = registry
        self._drivers = drivers
        self._bridge = bridge
        self._addresses = addresses
        self._records = records
        self._egress = egress
        self._endpoints: dict[str, Endpoint] = {}
        self._recorded: set[str] = set()  # those that a plugin must be told of

    def add(self, endpoint: Endpoint) -> None:
        """The endpoint's container ended; one without an interface leaves nothing, unless a plugin knows of it."""
        network = self._registry.get(endpoint.network)
        if network is not None and (self._drivers[network.driver].remote or self._addresses.remote(network)):
            left = ContainerEndpoints(container=endpoint.id, name="", endpoints=[endpoint])
            self._records.put(endpoint.id, codec.encode(left))
            self._recorded.add(endpoint.id)
        elif not endpoint.veth and not endpoint.ifname:
            return
        self._endpoints[endpoint.id] = endpoint

    def holds(self, network_id: str) -> bool:
        """Whether addresses of this network wait."""
        return any(endpoint.network == network_id for endpoint in self._endpoints.values())

    def count(self) -> int:
        """How many links wait."""
        self.sweep()
        return len(self._endpoints)

    def sweep(self) -> None:
        """Free the addresses whose veth pair is gone, but for those that a plugin is told of."""
        for endpoint in list(self._endpoints.values()):
            if endpoint.veth and endpoint.id not in self._recorded and not link_exists(endpoint.veth):
                del self._endpoints[endpoint.id]
                self._egress.leave(endpoint.id)
                for cidr in filter(None, (endpoint.ipv4, endpoint.ipv6)):
                    self._registry.free(endpoint.network, cidr)

    async def collect(self) -> None:
        """Delete the links that are left and free all addresses. Slow: not on the path of a start. Raises OSError.

        A plugin that keeps us waiting delays no other's endpoints.
        """
        await self._bridge.delete_links([endpoint.veth for endpoint in self._endpoints.values() if endpoint.veth])
        self.sweep()
        left = [item for item in self._endpoints.values() if not item.veth or item.id in self._recorded]
        await asyncio.gather(*(self._end(endpoint) for endpoint in left))

    async def _end(self, endpoint: Endpoint) -> None:
        """A failure is logged: nobody waits for this."""
        network = self._registry.get(endpoint.network)
        if network is not None:
            await detach_logged(self._drivers[network.driver], endpoint)
        await self._free(endpoint)

    async def end(self, endpoint: Endpoint) -> None:
        """The endpoint's container lives on without it: its link goes now. One that does not waits like those of ended
        containers, for the next `collect`. Raises OSError, CortenError."""
        network = self._registry.get(endpoint.network)
        if network is not None:
            await self._drivers[network.driver].detach(endpoint)
        await self._free(endpoint)

    async def _free(self, endpoint: Endpoint) -> None:
        if self._endpoints.pop(endpoint.id, None) is None:
            return  # another collection was faster
        self._egress.leave(endpoint.id)
        for cidr in filter(None, (endpoint.ipv4, endpoint.ipv6)):
            await self._addresses.free(endpoint.network, cidr)
        if endpoint.id in self._recorded:
            self._recorded.discard(endpoint.id)
            self._records.delete(endpoint.id)


async def detach_logged(driver: NetworkDriver, endpoint: Endpoint) -> None:
    """Detach where another error is the one to tell, or nobody waits."""
    try:
        await driver.detach(endpoint)
    except (OSError, CortenError):
        _LOG.exception("an interface could not be removed", extra={"interface": endpoint.veth or endpoint.ifname})
