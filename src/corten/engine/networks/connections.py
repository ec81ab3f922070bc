"""`network connect` and `disconnect`: containers join and leave networks, while they run too. Daemon, on the loop.

A running container's new interface is configured over a netlink socket of its network namespace; its first user-defined
network brings it the embedded DNS server.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from corten.engine.networks.busy import when_free
from corten.engine.networks.endpoints import Endpoints
from corten.engine.networks.inside import in_namespace
from corten.engine.networks.resolvers import Resolvers
from corten.engine.networks.settings import AttachRequest, ContainerDirectory, ContainerView, NetnsSockets
from corten.errors import FailedPrecondition, Forbidden, NotFound
from corten.linux import remote_interfaces
from corten.linux.netlink import NETLINK_ROUTE, NetlinkSocket
from corten.network.config import NetworkConfig
from corten.spec.docker.network import EndpointSettings

_HOST_NETWORK = "container cannot be disconnected from host network or connected to host network"
_ROUTE_SOCKET = (socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_ROUTE, "")


class Connections:
    """The two verbs."""

    def __init__(self, *, endpoints: Endpoints, resolvers: Resolvers) -> None:
        self._endpoints = endpoints
        self._resolvers = resolvers
        self.containers: ContainerDirectory | None = None
        self.netns: NetnsSockets | None = None

    async def connect(self, network: NetworkConfig, view: ContainerView, settings: EndpointSettings | None) -> None:
        """Put a container into a network. Raises Forbidden, and what the driver and the addresses raise."""
        assert self.containers is not None
        asked = settings or EndpointSettings()
        self._check(network, view)
        request = AttachRequest(
            name=view.name,
            mode="none",
            hostname=view.hostname,
            endpoints={network.name: asked},
            dns=view.dns,
            checked=view.checked,
            egress=view.egress,
        )
        self._endpoints.check(request)
        if not view.pid:
            await self.containers.set_endpoint(view.id, network.name, asked)
            return
        await self._connect_running(network, view, asked, request)
        attached = self._endpoints.settings_of(view.id, network, asked)
        try:
            await self.containers.set_endpoint(view.id, network.name, attached, resolver=not network.predefined)
        except BaseException:
            await self._undo(view, network)
            raise

    async def _connect_running(
        self, network: NetworkConfig, view: ContainerView, asked: EndpointSettings, request: AttachRequest
    ) -> None:
        if self.netns is None:
            raise FailedPrecondition("this daemon cannot reach the network namespace of running containers")
        interface = await when_free(partial(self._endpoints.add, view.id, network, asked, request, view.pid))
        try:
            (opened,) = await self.netns.open_sockets(
                view.id, [_ROUTE_SOCKET], sysctls=remote_interfaces.sysctls_of(interface)
            )
            await in_namespace(opened, partial(_configure, interface=interface))
            if not network.predefined:
                await self._resolvers.open(view.id, running=True)
        except BaseException:
            await self._undo(view, network)
            raise

    async def _undo(self, view: ContainerView, network: NetworkConfig) -> None:
        if view.id in self._endpoints.members(network.id):  # else it ended meanwhile
            await self._leave(view, network)

    async def _leave(self, view: ContainerView, network: NetworkConfig) -> None:
        """Its endpoint goes; the default routes that it had lead over another network, if there is one."""
        before = self._endpoints.gateways(view.id)
        try:
            self._endpoints.drop(view.id, network)
        finally:
            await self._reroute(view, before)

    def _check(self, network: NetworkConfig, view: ContainerView) -> None:
        if network.driver == "host":
            raise Forbidden(_HOST_NETWORK)
        if view.mode == "host" or view.mode.startswith("container:"):
            raise Forbidden(
                "container sharing network namespace with another container or host "
                "cannot be connected to any other network"
            )
        if network.driver == "null" or view.mode == "none":
            raise Forbidden(
                "container cannot be connected to multiple networks with one of the networks in private (none) mode"
            )
        if (view.pid and network.name in view.networks) or view.id in self._endpoints.members(network.id):
            raise Forbidden(f"endpoint with name {view.name} already exists in network {network.name}")

    async def disconnect(self, network: NetworkConfig, view: ContainerView) -> None:
        """Take a container out of a network. Raises Forbidden."""
        assert self.containers is not None
        if network.driver == "host":
            raise Forbidden(_HOST_NETWORK)
        member = view.id in self._endpoints.members(network.id)
        if not member and network.name not in view.networks:
            which = "network" if view.pid else "the network"
            raise Forbidden(f"container {view.id} is not connected to {which} {network.name}")
        try:
            if member:
                await self._leave(view, network)
        finally:  # what was left is left, also when no other network can lead outside in its place
            if view.id not in self._endpoints.members(network.id):
                await self.containers.set_endpoint(view.id, network.name, None)

    async def _reroute(self, view: ContainerView, before: dict[str, tuple[str, str]]) -> None:
        """The network that led outside is gone: another one does, if there is one."""
        after = self._endpoints.gateways(view.id)
        changed = [after[key] for key in after if before.get(key) != after[key]]
        if not changed or self.netns is None:
            return
        (opened,) = await self.netns.open_sockets(view.id, [_ROUTE_SOCKET])
        await in_namespace(opened, partial(_lead, gateways=changed))

    def force(self, network: NetworkConfig, container: str) -> None:
        """Drop the endpoint of a container that is not known any more. Raises NotFound when it has none."""
        for cid, (name, _endpoint) in self._endpoints.members(network.id).items():
            if container in (cid, name):
                self._endpoints.drop(cid, network)
                return
        raise NotFound(f"endpoint {container} not found")


def _configure(opened: socket.socket, *, interface: Mapping[str, Any]) -> None:
    with NetlinkSocket(fileno=opened.detach()) as inside:
        remote_interfaces.configure_remote_interface(inside, interface)


def _lead(opened: socket.socket, *, gateways: Sequence[tuple[str, str]]) -> None:
    with NetlinkSocket(fileno=opened.detach()) as inside:
        remote_interfaces.set_default_routes(inside, gateways)
