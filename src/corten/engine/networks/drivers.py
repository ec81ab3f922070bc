"""All network drivers of a daemon by name: built-in ones, those of installed distributions, and plugins. Daemon only.

A name that is neither built-in nor installed is a plugin's, whether that is there or not: its networks have it as their
driver while it is away, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from corten.linux.netlink import NetlinkSocket
from corten.network.driver import NetworkDriver
from corten.network.drivers import DRIVERS, BridgeDriver
from corten.network.drivers.installed import installed_drivers
from corten.network.plugins.client import Plugins
from corten.network.plugins.network import PluginDriver


class Drivers(Mapping[str, NetworkDriver]):
    """Look-up by name always finds a driver; `in` tells whether networks can be made with it now."""

    def __init__(self, netlink: NetlinkSocket, plugins: Plugins, *, owner: str) -> None:
        self._netlink = netlink
        self._owner = owner
        self._plugins = plugins
        self._local: dict[str, NetworkDriver] = {kind.name: kind(netlink, owner=owner) for kind in DRIVERS}
        self._local.update(installed_drivers(netlink, owner=owner, taken=self._local))
        self._remote: dict[str, PluginDriver] = {}

    def __getitem__(self, name: str) -> NetworkDriver:
        if name in self._local:
            return self._local[name]
        if name not in self._remote:
            self._remote[name] = PluginDriver(self._plugins.get(name), self._netlink, owner=self._owner)
        return self._remote[name]

    def __contains__(self, name: object) -> bool:
        return name in self._local or (isinstance(name, str) and self._plugins.exists(name))

    def __iter__(self) -> Iterator[str]:
        return iter(self._local)

    def __len__(self) -> int:
        return len(self._local)

    def bridge(self, name: str = "bridge") -> BridgeDriver:
        """The driver of this name, which is known to make bridges and veth pairs."""
        driver = self._local[name]
        assert isinstance(driver, BridgeDriver)
        return driver

    async def settled(self) -> None:
        """Every bridge that was removed is gone from the kernel, too."""
        for driver in self._local.values():
            if isinstance(driver, BridgeDriver):
                await driver.settled()
