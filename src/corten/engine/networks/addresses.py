"""Who gives out a network's subnets and addresses: the built-in one, nobody (`null`), or a plugin. Daemon only.

The built-in one is the registry's address spaces: nothing is waited for there.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable

from corten.engine.networks.registry import Registry
from corten.errors import CortenError, Forbidden, InvalidArgument
from corten.network.config import Endpoint, NetworkConfig
from corten.network.ipam import overlaps
from corten.network.plugins.client import Plugins
from corten.network.plugins.ipam import PluginIpam

BUILT_IN, NOBODY = "default", "null"
_LOG = logging.getLogger("corten.network")


class Addresses:
    """The addresses of all networks."""

    def __init__(self, registry: Registry, plugins: Plugins) -> None:
        self._registry = registry
        self._plugins = plugins
        self._remote: dict[str, PluginIpam] = {}

    def known(self, name: str) -> bool:
        """Whether a network can be made with this IPAM driver now."""
        return name in (BUILT_IN, NOBODY) or self._plugins.exists(name)

    def remote(self, network: NetworkConfig) -> bool:
        """Whether another program gives out its addresses."""
        return network.ipam_driver not in (BUILT_IN, NOBODY)

    def _plugin(self, network: NetworkConfig) -> PluginIpam | None:
        name = network.ipam_driver
        if not self.remote(network):
            return None
        if name not in self._remote:
            self._remote[name] = PluginIpam(self._plugins.get(name))
        return self._remote[name]

    async def request_pools(self, network: NetworkConfig) -> None:
        """Subnets from a plugin, in the place of those asked for. Raises CortenError; what was taken until then stands
        in `network`."""
        plugin = self._plugin(network)
        if plugin is None:
            return
        asked, network.subnets = network.subnets, []
        await plugin.request_pools(network, asked)
        others = [subnet for other in self._registry.all() if other.id != network.id for subnet in other.subnets]
        for subnet in network.subnets:
            if any(overlaps(subnet.network(), other.network()) for other in others):
                raise Forbidden(f"plugin {network.ipam_driver}: its pool {subnet.subnet} overlaps with another network")

    async def release_pools(self, network: NetworkConfig) -> None:
        """The network is no more."""
        plugin = self._plugin(network)
        if plugin is not None:
            await plugin.release_pools(network)

    async def needs_mac(self, network: NetworkConfig) -> bool:
        """Whether the MAC must be known before the address."""
        plugin = self._plugin(network)
        return plugin is not None and await plugin.needs_mac()

    async def allocate(self, network: NetworkConfig, version: int, wanted: str, mac: str) -> str:
        """An address of a family with its prefix length, or "" when the network has none of it."""
        plugin = self._plugin(network)
        if plugin is not None:
            return await plugin.allocate(network, version, wanted, mac)
        if network.ipam_driver == NOBODY and wanted:
            raise InvalidArgument(f"network {network.name} has no addresses (IPAM driver null), nor {wanted[:64]}")
        return self._registry.allocate(network, version, wanted)

    async def free(self, network_id: str, cidr: str) -> None:
        """Give an address back."""
        network = self._registry.get(network_id)
        plugin = self._plugin(network) if network is not None else None
        if network is not None and plugin is not None:
            await plugin.free(network, cidr)
        else:
            self._registry.free(network_id, cidr)

    async def replay(self, endpoints: Iterable[Endpoint]) -> None:
        """After a restart: tell plugins that forget what our networks and living `endpoints` have."""
        taken: dict[str, list[str]] = defaultdict(list)
        for endpoint in endpoints:
            taken[endpoint.network] += [cidr for cidr in (endpoint.ipv4, endpoint.ipv6) if cidr]
        networks: dict[str, list[NetworkConfig]] = defaultdict(list)
        for network in self._registry.all():
            if self._plugin(network) is not None and not network.pending:
                networks[network.ipam_driver].append(network)
        for name, own in networks.items():
            try:
                await self._remote[name].replay(own, taken)
            except CortenError as error:
                _LOG.warning("addresses of networks with IPAM driver %s: %s", name, error)
