"""The use cases on networks themselves: list, inspect, create, change, remove, prune. Daemon only, on the loop."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from corten.engine.events import Events
from corten.engine.networks import default_bridge
from corten.engine.networks.addresses import Addresses
from corten.engine.networks.drivers import Drivers
from corten.engine.networks.egress import check_network
from corten.engine.networks.endpoints import Endpoints
from corten.engine.networks.forward import Forwarding
from corten.engine.networks.lifecycle import Lifecycle
from corten.engine.networks.listing import matches, prunable, resource
from corten.engine.networks.peers import change_peers
from corten.engine.networks.planning import plan
from corten.engine.networks.registry import Registry
from corten.engine.networks.services import Services
from corten.engine.networks.settings import ContainerDirectory
from corten.errors import CortenError, Forbidden
from corten.lib import blocking
from corten.lib.undo import Undo
from corten.linux.netlink import NetlinkSocket
from corten.network.ipam import Taken
from corten.network.service_labels import check_option
from corten.spec.docker.network import NetworkCreateRequest, NetworkResource

_LOG = logging.getLogger("corten.network")


class NetworkCatalog:
    """All networks, by name and id."""

    def __init__(
        self,
        *,
        registry: Registry,
        drivers: Drivers,
        addresses: Addresses,
        endpoints: Endpoints,
        services: Services,
        forwarding: Forwarding,
        events: Events,
    ) -> None:
        self.containers: ContainerDirectory | None = None
        self._registry = registry
        self._drivers = drivers
        self._addresses = addresses
        self._endpoints = endpoints
        self._services = services
        self._forwarding = forwarding
        self._events = events
        self.lifecycle = Lifecycle(registry=registry, drivers=drivers, addresses=addresses)

    def list_(self, filters: Mapping[str, list[str]] | None = None) -> list[NetworkResource]:
        """All networks that the filters let through. Raises InvalidArgument."""
        used = self._used_ids()
        ready = [network for network in self._registry.all() if not network.pending]
        found = [n for n in ready if matches(n, filters or {}, in_use=n.id in used)]
        return [resource(network, {}) for network in found]

    def inspect(self, reference: str) -> NetworkResource:
        """One network with its running containers. Raises NotFound."""
        network = self._registry.find(reference)
        return resource(network, self._endpoints.members(network.id))

    async def create(self, request: NetworkCreateRequest) -> str:
        """A new network; returns its id. Raises InvalidArgument, Conflict, Forbidden, NotFound (driver)."""
        taken = await blocking.run(_host_prefixes)  # first: from plan to record nobody comes between
        network = plan(
            request,
            self._registry,
            drivers=self._drivers,
            ipam_known=self._addresses.known,
            taken=taken,
        )
        check_option(network.options)
        check_network(network, self._drivers[network.driver])
        async with Undo() as undo:
            await self.lifecycle.make(network, undo)
            if network.enable_ipv6:
                self._forwarding.enable(ipv6=True)
            network.pending = False
            self._registry.add(network)
            undo.push(self._registry.remove, network)
            self._forwarding.replace_rules()
            undo.keep()
        self._events.publish("network", "create", network.id, {"name": network.name, "type": network.driver})
        return network.id

    async def update_peers(self, reference: str, *, add: list[str], remove: list[str]) -> None:
        """Change who the other hosts of a vxlan network are. Raises NotFound, InvalidArgument; nothing changes then."""
        network = self._registry.find(reference)
        await change_peers(
            network,
            add=add,
            remove=remove,
            registry=self._registry,
            drivers=self._drivers,
            replace_rules=self._forwarding.replace_rules,
        )
        self._events.publish("network", "update", network.id, {"name": network.name, "type": network.driver})

    async def remove(self, reference: str) -> None:
        """Delete a network. Raises NotFound, Forbidden (predefined or in use)."""
        network = self._registry.find(reference)
        if network.predefined:
            raise Forbidden(f"{network.name} is a pre-defined network and cannot be removed")
        if self._registry.users_of(network):
            raise Forbidden(f'error while removing network: configuration network "{network.name}" is in use')
        members = self._endpoints.members(network.id)
        if members or self._endpoints.joining(network.id):
            shown = ", ".join(f'name:"{name}" id:"{endpoint.id[:12]}"' for name, endpoint in members.values())
            raise Forbidden(f"error while removing network: network {network.name} has active endpoints ({shown})")
        await self.lifecycle.take_away(network)
        self._services.network_removed(network.id)
        self._forwarding.network_removed()
        self._events.publish("network", "destroy", network.id, {"name": network.name, "type": network.driver})

    async def prune(self, filters: Mapping[str, list[str]]) -> list[str]:
        """Delete networks that no container uses; returns their names. Raises InvalidArgument."""
        used = self._used_ids()
        gone = []
        for network in [network for network in self._registry.all() if not network.pending]:
            if prunable(network, filters) and network.id not in used:
                try:
                    await self.remove(network.id)
                    gone.append(network.name)
                except (CortenError, OSError):
                    _LOG.exception("network could not be pruned", extra={"network": network.name})
        self._events.publish("network", "prune", "", {"reclaimed": "0"})
        return gone

    def _used_ids(self) -> set[str]:
        """Networks with running containers, or that containers are configured for."""
        used = {network.id for network in self._registry.all() if self._endpoints.members(network.id)}
        if self.containers is not None:
            directory = self.containers
            used |= {n.id for n in self._registry.all() if directory.using(n.id, n.name)}
        return used


def _host_prefixes() -> Taken:
    """In a thread, with a socket of its own: a router has tens of thousands of routes."""
    with NetlinkSocket() as netlink:
        return Taken(default_bridge.host_prefixes(netlink))
