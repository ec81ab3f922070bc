"""Endpoints of containers that ended: their links die with the namespace, their addresses are free after that.

A veth pair's end is seen on the host. A macvlan's or ipvlan's is not: its addresses wait for `collect`, some seconds
after the container's end. Daemon only, on the loop.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from corten.engine.networks.egress import Egress
from corten.engine.networks.registry import Registry
from corten.network.config import Endpoint
from corten.network.driver import NetworkDriver
from corten.network.drivers.bridge import BridgeDriver, link_exists

_LOG = logging.getLogger("corten.network")


class Lingering:
    """What waits for its end."""

    def __init__(
        self, *, registry: Registry, drivers: Mapping[str, NetworkDriver], bridge: BridgeDriver, egress: Egress
    ) -> None:
        self._registry = registry
        self._drivers = drivers
        self._bridge = bridge
        self._egress = egress
        self._endpoints: dict[str, Endpoint] = {}

    def add(self, endpoint: Endpoint) -> None:
        """The endpoint's container ended; one without an interface leaves nothing."""
        if endpoint.veth or endpoint.ifname:
            self._endpoints[endpoint.id] = endpoint

    def end(self, endpoint: Endpoint) -> None:
        """The endpoint's container lives on without it: its link goes now. One that does not waits like those of
        ended containers, for the next `collect`. Raises OSError."""
        self._endpoints[endpoint.id] = endpoint
        network = self._registry.get(endpoint.network)
        if network is not None:
            self._drivers[network.driver].detach(endpoint)
        self._free(endpoint)

    def holds(self, network_id: str) -> bool:
        """Whether addresses of this network wait."""
        return any(endpoint.network == network_id for endpoint in self._endpoints.values())

    def count(self) -> int:
        """How many links wait."""
        self.sweep()
        return len(self._endpoints)

    def sweep(self) -> None:
        """Free the addresses whose veth pair is gone."""
        for endpoint in list(self._endpoints.values()):
            if endpoint.veth and not link_exists(endpoint.veth):
                self._free(endpoint)

    def collect(self) -> None:
        """Delete the links that are left and free all addresses. Slow: not on the path of a start. Raises OSError."""
        self._bridge.delete_links([endpoint.veth for endpoint in self._endpoints.values() if endpoint.veth])
        self.sweep()
        for endpoint in [endpoint for endpoint in self._endpoints.values() if not endpoint.veth]:
            network = self._registry.get(endpoint.network)
            if network is not None:
                detach_logged(self._drivers[network.driver], endpoint)
            self._free(endpoint)

    def _free(self, endpoint: Endpoint) -> None:
        del self._endpoints[endpoint.id]
        self._egress.leave(endpoint.id)
        for cidr in (endpoint.ipv4, endpoint.ipv6):
            if cidr:
                self._registry.free(endpoint.network, cidr)


def detach_logged(driver: NetworkDriver, endpoint: Endpoint) -> None:
    """Detach where another error is the one to tell, or nobody waits."""
    try:
        driver.detach(endpoint)
    except OSError:
        _LOG.exception("an interface could not be removed", extra={"interface": endpoint.veth or endpoint.ifname})
