"""How a network comes and goes where a plugin has a part in it, and where none has. Daemon only, on the loop.

What a plugin is asked for is recorded before, as pending: the name and the subnets are taken meanwhile, nobody sees or
uses the network, and a daemon that finds it so takes it away. Built-in drivers and addresses make nobody wait.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from corten.engine.networks.addresses import Addresses
from corten.engine.networks.drivers import Drivers
from corten.engine.networks.registry import Registry
from corten.errors import CortenError
from corten.lib.undo import Undo
from corten.network.config import NetworkConfig
from corten.network.plugins.client import PluginRefused

_LOG = logging.getLogger("corten.network")


class Lifecycle:
    """Networks on the host and with plugins; rules and events are the service's."""

    def __init__(self, *, registry: Registry, drivers: Drivers, addresses: Addresses) -> None:
        self._registry = registry
        self._drivers = drivers
        self._addresses = addresses

    def _shared(self, network: NetworkConfig) -> bool:
        """Whether another program knows of it."""
        return self._drivers[network.driver].remote or self._addresses.remote(network)

    async def make(self, network: NetworkConfig, undo: Undo) -> None:
        """Addresses and links of a planned network; the caller records it, or lets `undo` take all away again."""
        driver = self._drivers[network.driver]
        if self._shared(network):
            network.pending = True
            self._registry.add(network)
            undo.push(self._registry.remove, network)
            undo.push(self._addresses.release_pools, network)
            await self._addresses.request_pools(network)
            self._registry.update(network)
        driver.check(network, [other for other in self._registry.all() if other.id != network.id])
        await driver.ensure(network, new=True)
        undo.push(driver.remove, network)

    async def take_away(self, network: NetworkConfig) -> None:
        """All of a network that nobody uses, its record too. Raises what the driver raises; it stays then."""
        if self._shared(network):
            network.pending = True
            self._registry.update(network)
        try:
            await self._drivers[network.driver].remove(network)
        except BaseException:
            if network.pending:
                network.pending = False
                self._registry.update(network)
            raise
        await self._addresses.release_pools(network)
        self._registry.remove(network)

    async def finish(self, begun: Sequence[NetworkConfig]) -> None:
        """What a killed daemon had begun is taken away; where the plugin cannot be asked now, the next start asks."""
        for network in begun:
            try:
                await self._drivers[network.driver].remove(network)
            except PluginRefused as error:  # it was not told, or has forgotten
                _LOG.info("network %s was never finished: %s", network.name, error)
            except (CortenError, OSError):
                _LOG.exception("what is left of a network stays", extra={"network": network.name})
                continue
            await self._addresses.release_pools(network)
            self._registry.remove(network)
