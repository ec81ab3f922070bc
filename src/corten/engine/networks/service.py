"""The network use cases: what the routes and the container service call. Daemon only, on the loop.

Kernel work here takes well under a millisecond a call and runs on the loop; what takes longer (deleting links, reading
all routes) is a thread's. Links of ended containers wait for `collect`, which runs when the daemon is idle.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine, Mapping
from functools import partial
from typing import Any

from corten.engine.events import Events
from corten.engine.networks import default_bridge
from corten.engine.networks.addresses import Addresses
from corten.engine.networks.catalog import NetworkCatalog
from corten.engine.networks.connections import Connections
from corten.engine.networks.drivers import Drivers
from corten.engine.networks.egress import Egress
from corten.engine.networks.egress_denials import ACTION
from corten.engine.networks.endpoints import Endpoints
from corten.engine.networks.following import follow_containers
from corten.engine.networks.forward import Forwarding
from corten.engine.networks.host_resolv import HostResolvConf
from corten.engine.networks.publishing import open_publisher, relaying
from corten.engine.networks.registry import Registry
from corten.engine.networks.resolvers import Resolvers
from corten.engine.networks.service_listing import ServiceListing
from corten.engine.networks.services import Services
from corten.engine.networks.settings import (
    Attached,
    AttachRequest,
    ContainerDirectory,
    ContainerView,
    NetnsSockets,
    NetworkSettings,
    Records,
)
from corten.errors import CortenError, Forbidden, NotFound, Unavailable
from corten.lib.keylock import KeyLock
from corten.linux import rtnetlink
from corten.linux.netlink import NetlinkSocket
from corten.network.config import NetworkConfig
from corten.network.dns.directory import NameDirectory
from corten.network.firewall import Firewall
from corten.network.firewall_watch import FirewallWatch
from corten.network.plugins.client import Plugins
from corten.spec.docker.network import EndpointSettings

_LOG = logging.getLogger("corten.network")
_COLLECT_AFTER_S = 2.0
_CLOSE_S = 5.0


class NetworkService:
    """All networks and all containers in them."""

    def __init__(
        self,
        *,
        settings: NetworkSettings,
        networks: Records,
        endpoints: Records,
        services: Records,
        events: Events,
        host_resolv: HostResolvConf,
    ) -> None:
        self._settings = settings
        self.containers: ContainerDirectory | None = None
        self._netlink = NetlinkSocket()
        plugins = Plugins(settings.plugin_folders, settings.plugin_patience)
        self._drivers = Drivers(self._netlink, plugins, owner=settings.table)
        policy = settings.publish_policy
        self._firewall = Firewall(settings.table, relaying=relaying(policy, userland_proxy=settings.userland_proxy))
        self._firewall_watch = FirewallWatch(self._firewall)
        self._registry = Registry(settings, networks)
        self._addresses = Addresses(self._registry, plugins)
        self._forwarding = Forwarding(
            settings=settings,
            registry=self._registry,
            drivers=self._drivers,
            firewall=self._firewall,
            watch=self._firewall_watch,
        )
        self._publisher = open_publisher(settings, self._firewall, self._drivers)
        names = NameDirectory()
        self._services = Services(
            registry=self._registry,
            records=services,
            names=names,
            firewall=self._firewall,
            relays=self._publisher.shared,
        )
        self.services = ServiceListing(
            services=self._services,
            registry=self._registry,
            names=names,
            publisher=self._publisher,
            firewall=self._firewall,
        )
        self._egress = Egress(table=settings.table, registry=self._registry, netlink=self._netlink)
        self._endpoints = Endpoints(
            registry=self._registry,
            drivers=self._drivers,
            addresses=self._addresses,
            publisher=self._publisher,
            records=endpoints,
            events=events,
            names=names,
            services=self._services,
            egress=self._egress,
        )
        self._resolvers = Resolvers(names=names, host=host_resolv, records=self._endpoints.of, egress=self._egress)
        self.catalog = self._catalog(events)
        self._connections = Connections(endpoints=self._endpoints, resolvers=self._resolvers)
        events.listen(partial(follow_containers, self._services, self._endpoints))
        self._turns = KeyLock()  # by container: one of its connections changes at a time
        self._collecting: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def _catalog(self, events: Events) -> NetworkCatalog:
        return NetworkCatalog(
            registry=self._registry,
            drivers=self._drivers,
            addresses=self._addresses,
            endpoints=self._endpoints,
            services=self._services,
            forwarding=self._forwarding,
            events=events,
        )

    def serve(self, containers: ContainerDirectory, netns: NetnsSockets) -> None:
        """Give what running containers need: their directory, and sockets of their network namespaces."""
        self.containers = self._connections.containers = self.catalog.containers = containers
        self._resolvers.netns = self._connections.netns = self._services.maps.netns = netns
        self._egress.denials.tell = lambda cid, about: containers.announce(cid, ACTION, about)

    # -- life --------------------------------------------------------------------------------------------------------

    async def recover(self, living: Mapping[str, int]) -> None:
        """Once, at start: predefined networks, links, what living containers (id -> pid) have, rules; strays go.

        The kernel is made equal to the records, whatever a killed daemon left.
        """
        self._registry.load()
        default_bridge.ensure_predefined(self._settings, self._registry, self._netlink)
        self._forwarding.enable(ipv6=any(network.enable_ipv6 for network in self._registry.all()))
        for network in self._registry.all():
            try:
                if not network.pending:
                    await self._drivers[network.driver].ensure(network)
            except (CortenError, OSError):
                _LOG.exception("network could not be set up", extra={"network": network.name})
        self._services.load(living, self._exists)
        self._endpoints.recover(living)
        bridge = self._drivers.bridge()
        await bridge.delete_links(bridge.strays(self._registry.all(), self._endpoints.veths()))
        try:
            self._firewall.remove_orphans({link.name for link in rtnetlink.list_links(self._netlink)})
            self._services.tell()  # before the rules, so that no port of theirs is without members for a moment
            self._forwarding.replace_rules(self._publisher.rules())
            self._firewall_watch.start()
        except (Unavailable, OSError):  # containers without published ports and NAT must still work
            _LOG.exception("no packet filter: containers have no way outside and no published ports")
        try:
            self._egress.recover(map(self._endpoints.of, living))
        except (Unavailable, OSError):
            _LOG.exception("the egress lists of running containers are not in force but for what stood before")
        await self._services.settle()
        await self._resolvers.recover(self._endpoints.with_resolver())
        if self._endpoints.lingering():
            self._collect_later()
        self._spawn(self._recover_plugins([network for network in self._registry.all() if network.pending]))

    async def _recover_plugins(self, begun: list[NetworkConfig]) -> None:
        """What plugins must be told; they may not be there yet, and nothing else waits for them."""
        await self._addresses.replay(self._endpoints.living())
        await self.catalog.lifecycle.finish(begun)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """The daemon ends; networks and rules stay for the containers that go on."""
        if self._collecting is not None:
            self._collecting.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._resolvers.close_all()
        await self._services.close()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(_CLOSE_S):  # what a plugin was not told is recorded
                await self._endpoints.collect()
                await self._drivers.settled()
        self._publisher.close()
        self._firewall_watch.close()
        self._egress.close()
        self._firewall.close()
        self._netlink.close()

    async def uninstall(self) -> None:
        """Remove rules and bridges from the host. Only without running containers; records stay, and what plugins
        have."""
        self._firewall.uninstall()
        self._egress.uninstall()
        for network in self._registry.all():
            driver = self._drivers[network.driver]
            if not (network.predefined and self._settings.bridge) and not driver.remote:
                await driver.remove(network)
        await self._drivers.settled()

    # -- containers --------------------------------------------------------------------------------------------------

    def prewarm(self, cid: str, pid: int) -> None:
        """Place the default network's interface in a prepared sandbox. Raises OSError; nothing is left then."""
        network = self._registry.by_name("bridge")
        if network is not None:
            self._endpoints.prewarm(cid, pid, network)

    async def attach(self, cid: str, request: AttachRequest, pid: int) -> Attached:
        """Put a container that is about to start into its networks. Raises NotFound, ResourceExhausted ..."""
        self._resolvers.close(cid)  # of an earlier run whose end nobody saw
        attached = await self._endpoints.attach(cid, request, pid)
        if attached.renew:
            self._collect_later()
        await self._publisher.settled()
        if attached.resolver:
            await self._resolvers.open(cid, running=False)
        await self._services.ready(cid)
        return attached

    async def withdraw(self, cid: str, *, drain: bool) -> None:
        """A container is going to be stopped: its services send nothing new to it, see `Services.withdraw`."""
        await self._services.withdraw(cid, lambda: self._view(cid).pid, drain=drain)

    def restore(self, cid: str) -> None:
        """The container goes on: its services send to it again."""
        self._services.restore(cid)

    async def release(self, cid: str) -> None:
        """The container ended or its sandbox is given up; idempotent. The links' end is awaited off this path."""
        self._resolvers.close(cid)
        self._endpoints.release(cid)
        self._collect_later()

    def _collect_later(self) -> None:
        if self._collecting is None:
            loop = asyncio.get_running_loop()
            self._collecting = loop.call_later(_COLLECT_AFTER_S, lambda: self._spawn(self._collect()))

    async def _collect(self) -> None:
        """Namespaces take their pairs along; what is still there after a while is deleted."""
        self._collecting = None
        try:
            await self._endpoints.collect()
        except OSError:
            _LOG.exception("left-over interfaces could not be deleted")

    def check(self, request: AttachRequest) -> None:
        """What `create` can refuse already. Raises as `attach` does."""
        self._endpoints.check(request)

    def endpoint_settings(self, cid: str, name: str, asked: EndpointSettings) -> EndpointSettings:
        """What inspect shows for a running container in a network."""
        network = self._registry.by_name(name)
        return asked if network is None else self._endpoints.settings_of(cid, network, asked)

    def driver_names(self) -> list[str]:
        """For `info`: the drivers that are here, and plugins that networks are of."""
        return sorted({*self._drivers, *(network.driver for network in self._registry.all())})

    def host_gateways(self) -> list[str]:
        """What `host-gateway` stands for: the default bridge's addresses."""
        network = self._registry.by_name("bridge")
        return [subnet.gateway for subnet in (network.subnets if network else []) if subnet.gateway]

    async def connect(self, reference: str, container: str, settings: EndpointSettings | None) -> None:
        """Put a container into a network, running or not. Raises NotFound, Forbidden."""
        view = self._view(container)
        async with self._turns.hold(view.id):
            view = self._view(container)
            await self._connections.connect(self._registry.find(reference), view, settings)
        await self._services.ready(view.id)

    async def disconnect(self, reference: str, container: str, *, force: bool = False) -> None:
        """Take a container out of a network. Raises NotFound, Forbidden."""
        try:
            view = self._view(container)
        except NotFound:
            if not force:
                raise
            await self._connections.force(self._registry.find(reference), container)
            return
        try:
            network = self._registry.find(reference)
        except NotFound as error:
            if view.pid and not force:
                raise
            raise Forbidden(f"container {view.id} is not connected to the network {reference}") from error
        async with self._turns.hold(view.id):
            await self._connections.disconnect(network, self._view(container))
        self._services.left(view.id, network.id)

    def _exists(self, cid: str) -> bool:
        try:
            return bool(self._view(cid))
        except NotFound:
            return False

    def _view(self, container: str) -> ContainerView:
        if self.containers is None:
            raise NotFound(f"No such container: {container}")
        return self.containers.view(container)
