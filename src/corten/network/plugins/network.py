"""The network driver that is a plugin: libnetwork's remote driver protocol. Daemon only, on the loop.

The plugin makes an interface on the host and names it; it is moved into the container, by netlink, under its last name
and with the endpoint's mark. At the end the plugin deletes it; what it leaves is deleted here. libnetwork moves it back
to the host first: a link of another namespace cannot be moved by a socket of ours. Source: libnetwork docs/remote.md.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from corten.linux import rtnetlink, rtnetlink_upper
from corten.linux.addresses import mac_bytes
from corten.linux.netlink import NetlinkSocket
from corten.network.config import OPTION_IFNAME, Endpoint, NetworkConfig, SubnetConfig, check_interface_name
from corten.network.drivers.interface import interface
from corten.network.drivers.links import is_own
from corten.network.drivers.parent import delete_marked, link_mark
from corten.network.ipam import IPAddress
from corten.network.nft import PROTOCOLS
from corten.network.plugins.client import MethodUnknown, Plugin, PluginFailed, PluginNotFound, PluginRefused
from corten.network.ports import HeldPort, PortRequest
from corten.network.ruleset import BridgeRules

_LOG = logging.getLogger("corten.plugins")
_MAX_INTERFACES = 256
_PORT_MAP = "com.docker.network.portmap"


class _Nothing(msgspec.Struct):
    """An answer that only says that it is done."""


class _Capabilities(msgspec.Struct):
    scope: str = msgspec.field(name="Scope", default="")


class _Interface(msgspec.Struct):
    address: str = msgspec.field(name="Address", default="")
    address6: str = msgspec.field(name="AddressIPv6", default="")
    mac: str = msgspec.field(name="MacAddress", default="")


class _Endpoint(msgspec.Struct):
    interface: _Interface | None = msgspec.field(name="Interface", default=None)


class _InterfaceName(msgspec.Struct):
    source: str = msgspec.field(name="SrcName", default="")
    prefix: str = msgspec.field(name="DstPrefix", default="")


class _Route(msgspec.Struct):
    destination: str = msgspec.field(name="Destination", default="")
    kind: int = msgspec.field(name="RouteType", default=0)  # 0: by NextHop, 1: on the link
    next_hop: str = msgspec.field(name="NextHop", default="")


class _Joined(msgspec.Struct):
    name: _InterfaceName | None = msgspec.field(name="InterfaceName", default=None)
    gateway: str = msgspec.field(name="Gateway", default="")
    gateway6: str = msgspec.field(name="GatewayIPv6", default="")
    routes: list[_Route] | None = msgspec.field(name="StaticRoutes", default=None)


class _Binding(msgspec.Struct):
    protocol: int = msgspec.field(name="Proto", default=0)
    container_port: int = msgspec.field(name="Port", default=0)
    host_address: str = msgspec.field(name="HostIP", default="")
    host_port: int = msgspec.field(name="HostPort", default=0)


class _Value(msgspec.Struct):
    ports: list[_Binding] | None = msgspec.field(name=_PORT_MAP, default=None)


class _OperInfo(msgspec.Struct):
    value: _Value | None = msgspec.field(name="Value", default=None)


class PluginDriver:
    """All networks of one plugin."""

    addressed = True
    remote = True

    def __init__(self, plugin: Plugin, netlink: NetlinkSocket, *, owner: str) -> None:
        self.name = plugin.name
        self._plugin = plugin
        self._netlink = netlink
        self._owner = owner

    def check(self, network: NetworkConfig, others: Iterable[NetworkConfig]) -> None:
        """The plugin says no when it is asked to make the network."""

    def gateway(self, network: NetworkConfig, address: IPAddress) -> str:  # noqa: ARG002 - the driver's Protocol
        """Told by the plugin, when the endpoint joins."""
        return ""

    def rules(self, network: NetworkConfig) -> BridgeRules | None:  # noqa: ARG002
        """The plugin's own affair."""
        return None

    async def ensure(self, network: NetworkConfig, *, new: bool = False) -> None:
        """Tell the plugin of a new network; one that it was told of it keeps itself."""
        if not new:
            return
        capabilities = await self._call("GetCapabilities", {}, _Capabilities)
        if capabilities.scope not in ("local", "global"):
            raise PluginFailed(f'plugin "{self.name}": scope {capabilities.scope[:64]!r} is neither local nor global')
        network.scope = capabilities.scope
        options: dict[str, Any] = {
            "com.docker.network.enable_ipv4": network.enable_ipv4,
            "com.docker.network.enable_ipv6": network.enable_ipv6,
            "com.docker.network.generic": dict(network.options),
        }
        if network.internal:
            options["com.docker.network.internal"] = True
        body: dict[str, Any] = {"NetworkID": network.id, "Options": options}
        for version in (4, 6):
            subnets = [subnet for subnet in network.subnets if subnet.network().version == version]
            body[f"IPv{version}Data"] = [_pool(subnet) for subnet in subnets]
        try:
            await self._call("CreateNetwork", body, _Nothing)
        except PluginFailed:  # it may have been made, only the answer was lost
            await self._quietly("DeleteNetwork", {"NetworkID": network.id})
            raise

    async def remove(self, network: NetworkConfig) -> None:
        """Tell the plugin that a network is no more."""
        await self._call("DeleteNetwork", {"NetworkID": network.id}, _Nothing)

    async def attach(self, network: NetworkConfig, endpoint: Endpoint, *, pid: int) -> dict[str, Any] | None:
        """Create the endpoint, join it to the container, move the interface; what fails is undone."""
        netns = rtnetlink_upper.namespace_id(self._netlink, pid)
        try:
            await self._create(network, endpoint)
            joined = await self._call(
                "Join",
                {**_ids(endpoint), "SandboxKey": f"/proc/{pid}/ns/net", "Options": dict(endpoint.options)},
                _Joined,
            )
            endpoint.gateway, endpoint.gateway6 = self._address(joined.gateway, 4), self._address(joined.gateway6, 6)
            routes = [self._route(route) for route in joined.routes or []]
            if joined.name is None or not joined.name.source:
                endpoint.ifname = ""
                return None
            endpoint.netns = netns
            self._move(endpoint, joined.name, pid)
        except BaseException:
            await self.detach(endpoint)
            raise
        return {**interface(endpoint), "routes": routes}

    async def _create(self, network: NetworkConfig, endpoint: Endpoint) -> None:
        asked = {"Address": endpoint.ipv4, "AddressIPv6": endpoint.ipv6, "MacAddress": endpoint.mac}
        body = {**_ids(endpoint), "Interface": asked, "Options": {**network.options, **endpoint.options}}
        answer = (await self._call("CreateEndpoint", body, _Endpoint)).interface or _Interface()
        for field, version, said in (("ipv4", 4, answer.address), ("ipv6", 6, answer.address6)):
            if said and getattr(endpoint, field):
                raise self._lie(f"it changed the address {getattr(endpoint, field)} to {said[:64]}")
            if said:
                setattr(endpoint, field, self._prefixed(said, version))
        if answer.mac and endpoint.mac:
            raise self._lie(f"it changed the MAC address {endpoint.mac} to {answer.mac[:64]}")
        if answer.mac:
            endpoint.mac = self._mac(answer.mac)

    def _move(self, endpoint: Endpoint, name: _InterfaceName, pid: int) -> None:
        link = next((k for k in rtnetlink.list_links(self._netlink) if k.name == name.source), None)
        if link is None:
            raise self._lie(f"there is no interface {name.source[:64]!r} on the host")
        if is_own(link, self._owner) or link.kind == "bridge":
            raise self._lie(f"the interface {link.name} is not the plugin's to give")
        if not endpoint.options.get(OPTION_IFNAME) and name.prefix:
            endpoint.ifname = self._free_name(endpoint.netns, check_interface_name(name.prefix + "0")[:-1])
        request = rtnetlink_upper.move_link_request(
            link.index, name=endpoint.ifname, netns_pid=pid, group=link_mark(endpoint)
        )
        self._netlink.batch([request], f"move the interface {link.name} of plugin {self.name} into the container")
        endpoint.mac = endpoint.mac or link.address

    def _free_name(self, netns: int, prefix: str) -> str:
        names = (f"{prefix}{number}" for number in range(_MAX_INTERFACES))
        return next(name for name in names if rtnetlink_upper.find_link_in(self._netlink, netns, name) is None)

    async def expose(self, endpoint: Endpoint, exposed: Sequence[str], ports: Sequence[PortRequest]) -> list[HeldPort]:
        """Have ports of the container published by the plugin, if that is something it does; returns those that it
        says it has published."""
        options = {
            "com.docker.network.endpoint.exposedports": [_transport(text) for text in exposed],
            _PORT_MAP: [_binding(port) for port in ports],
        }
        await self._optional("ProgramExternalConnectivity", {**_ids(endpoint), "Options": options})
        if not ports:
            return []
        try:
            info = await self._call("EndpointOperInfo", _ids(endpoint), _OperInfo)
        except MethodUnknown:
            return []
        return [self._published(binding) for binding in (info.value or _Value()).ports or []]

    def _published(self, binding: _Binding) -> HeldPort:
        protocol = next((name for name, number in PROTOCOLS.items() if number == binding.protocol), "")
        try:
            address = ipaddress.ip_address(binding.host_address or "0.0.0.0")
        except ValueError:
            raise self._lie(f"unusable host address {binding.host_address[:64]!r}") from None
        if not protocol:
            raise self._lie(f"unknown protocol {binding.protocol}")
        return HeldPort(
            protocol=protocol,
            container_port=binding.container_port,
            address=address,
            port=binding.host_port,
            socket=None,
        )

    async def detach(self, endpoint: Endpoint) -> None:
        """Tell the plugin, and delete what it leaves. What it does not know any more is no error."""
        await self._quietly("RevokeExternalConnectivity", _ids(endpoint))
        await self._quietly("Leave", _ids(endpoint))
        await self._quietly("DeleteEndpoint", _ids(endpoint))
        delete_marked(self._netlink, endpoint)

    async def _call(self, method: str, body: dict[str, Any], answer: type[Any]) -> Any:
        return await self._plugin.call(f"NetworkDriver.{method}", body, answer)

    async def _optional(self, method: str, body: dict[str, Any]) -> None:
        try:
            await self._call(method, body, _Nothing)
        except MethodUnknown:
            _LOG.debug("plugin %s has no %s", self.name, method)

    async def _quietly(self, method: str, body: dict[str, Any]) -> None:
        """Where another error is the one to tell, or the plugin may have forgotten already."""
        try:
            await self._optional(method, body)
        except (PluginRefused, PluginFailed, PluginNotFound) as error:
            _LOG.warning("%s", error)

    def _lie(self, what: str) -> PluginFailed:
        return PluginFailed(f'plugin "{self.name}": {what}')

    def _address(self, text: str, version: int) -> str:
        if not text:
            return ""
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            raise self._lie(f"unusable gateway {text[:64]!r}") from None
        if address.version != version:
            raise self._lie(f"the gateway {address} is no IPv{version} address")
        return str(address)

    def _prefixed(self, text: str, version: int) -> str:
        try:
            found = ipaddress.ip_interface(text)
        except ValueError:
            raise self._lie(f"unusable address {text[:64]!r}") from None
        if found.version != version or "/" not in text:
            raise self._lie(f"{text[:64]!r} is no IPv{version} address with a prefix length")
        return str(found)

    def _mac(self, text: str) -> str:
        try:
            raw = mac_bytes(text)
        except ValueError:
            raise self._lie(f"unusable MAC address {text[:64]!r}") from None
        return raw.hex(":")

    def _route(self, route: _Route) -> dict[str, str]:
        try:
            destination = ipaddress.ip_network(route.destination, strict=False)
            hop = str(ipaddress.ip_address(route.next_hop)) if route.kind == 0 else ""
        except ValueError:
            raise self._lie(f"unusable route to {route.destination[:64]!r} by {route.next_hop[:64]!r}") from None
        return {"destination": str(destination), "gateway": hop}


def _ids(endpoint: Endpoint) -> dict[str, Any]:
    return {"NetworkID": endpoint.network, "EndpointID": endpoint.id}


def _pool(subnet: SubnetConfig) -> dict[str, Any]:
    length = subnet.network().prefixlen
    auxiliary = {name: f"{address}/{length}" for name, address in subnet.auxiliary.items()}
    gateway = f"{subnet.gateway}/{length}" if subnet.gateway else ""
    return {
        "AddressSpace": subnet.address_space or "LocalDefault",
        "Pool": subnet.subnet,
        "Gateway": gateway,
        "AuxAddresses": auxiliary,
    }


def _transport(text: str) -> dict[str, int]:
    """`80/tcp` as libnetwork's TransportPort; an absent protocol is TCP."""
    port, _slash, protocol = text.partition("/")
    return {"Proto": PROTOCOLS.get(protocol or "tcp", 0), "Port": int(port)}


def _binding(port: PortRequest) -> dict[str, Any]:
    return {
        "Proto": PROTOCOLS[port.protocol],
        "IP": "",
        "Port": port.container_port,
        "HostIP": str(port.address) if port.address is not None else "",
        "HostPort": port.first,
        "HostPortEnd": port.last or port.first,
    }
